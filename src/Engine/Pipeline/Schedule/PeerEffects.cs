// What a peer's core asks of its host, in order. One plain value per effect in a buffer that the caller owns and reuses, so
// a microbatch costs no allocation; the host performs the effects from first to last and holds no decisions.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

enum PeerEffectKind : byte
{
    /// <summary>Send Message to Peer; Forward and Gradient take their payload from (step, microbatch).</summary>
    Send,

    /// <summary>Run Compute for (Step, Microbatch); answer with HandleComputed. At most one is open.</summary>
    Compute,

    /// <summary>Tell the orchestrator PeerMessage.Contributed(Step, Generation, Microbatch, Loss).</summary>
    TellContributed,

    /// <summary>Tell the orchestrator PeerMessage.Heartbeat(ServiceNanoseconds, SilenceNanoseconds, Open).</summary>
    TellHeartbeat,

    /// <summary>Tell the orchestrator Detail, a PeerMessage.</summary>
    Tell,

    /// <summary>Set the step's gradient sum to zero.</summary>
    ResetGradients,

    /// <summary>Send the own gradient sum of Step to Peer as the share ShareName, while it does not change; once over a connection.</summary>
    GiveShare,

    /// <summary>Sum the shares of this stage (Detail, an OrchestratorMessage.Reduce) in their order into a buffer of its own;
    /// answer with HandleReduced.</summary>
    Reduce,

    /// <summary>Stop reduction ReduceId; its buffer is void, the own sum stays.</summary>
    AbandonReduce,

    /// <summary>Optimizer step Step with Scale * reduced sum; then zero the sums; answer with HandleApplied.</summary>
    Apply,

    /// <summary>Take the state of the end of Step from Peer, or from the checkpoint; answer with HandleLoaded.</summary>
    Load,

    /// <summary>Write this slice as of the end of Step; answer with PeerMessage.CheckpointWritten.</summary>
    WriteCheckpoint,

    /// <summary>The step is final: its kept codes may go.</summary>
    ReleaseStep,

    /// <summary>A new placement (Detail): open and close connections to neighbours.</summary>
    Placed,

    /// <summary>Forget weights, codes and sums; Detail says why.</summary>
    Forget,
}

enum ComputeKind : byte
{
    None,

    /// <summary>From the received code (or the data, stage 0) to the code to send; on the last stage also the loss.</summary>
    Forward,

    /// <summary>From the received code gradient to the one to send; adds to the gradient sum.</summary>
    Backward,

    /// <summary>Forward and backward again from kept codes; adds to the gradient sum, sends nothing.</summary>
    Replay,
}

readonly record struct PeerEffect(PeerEffectKind Kind)
{
    public PeerId Peer { get; init; }

    public WorkMessage Message { get; init; }

    public ComputeKind Compute { get; init; }

    public int Step { get; init; }

    public int Microbatch { get; init; }

    public int Generation { get; init; }

    public long ReduceId { get; init; }

    public ulong ShareName { get; init; }

    public double Loss { get; init; }

    public double Scale { get; init; }

    public long ServiceNanoseconds { get; init; }

    public long SilenceNanoseconds { get; init; }

    public OpenTask Open { get; init; }

    public object? Detail { get; init; }
}

/// <summary>A reusable list of effects.</summary>
sealed class PeerEffects
{
    PeerEffect[] _items = new PeerEffect[64];

    public int Count { get; private set; }

    public ref readonly PeerEffect this[int index] => ref _items.AsSpan(0, Count)[index];

    public void Add(in PeerEffect effect)
    {
        if (Count == _items.Length)
            Array.Resize(ref _items, Count * 2);
        _items[Count++] = effect;
    }

    public void Clear()
    {
        Array.Clear(_items, 0, Count);
        Count = 0;
    }
}
