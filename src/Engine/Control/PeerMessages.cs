// What a peer tells the orchestrator. Each carries enough to be told twice: a repeated message changes nothing.
using System.Collections.Immutable;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

/// <summary>What a peer is and brings; checked before it gets a stage.</summary>
/// <param name="IsApart">Its device has a memory of its own, which MemoryBytes is of.</param>
/// <param name="PeakFlops">FLOP/s that its device reaches, the denominator of its utilization; 0: not known.</param>
sealed record PeerProfile(PeerId Peer, string Version, string ModelHash, string TokenizerHash, long MemoryBytes, double Speed, string Address, double PeakFlops = 0, bool IsApart = false);

/// <summary>Where a peer stands in its uncommitted step; told when it reconnects or refuses a reduction.</summary>
/// <param name="Losses">Of each microbatch, from the last stage only.</param>
sealed record StepReport(int Step, int Generation, MicrobatchSet Contributed, ImmutableArray<double> Losses, MicrobatchSet Held)
{
    /// <summary>Why it cannot be of a step of so many microbatches; empty if it can.</summary>
    public string Fault(int microbatchCount, bool isLastStage) =>
        Contributed.Capacity != microbatchCount || Held.Capacity != microbatchCount ? $"a report of {Contributed.Capacity} and {Held.Capacity} microbatches, where a step has {microbatchCount}"
        : isLastStage && (Losses.IsDefault || Losses.Length != microbatchCount) ? $"a report without the losses of {microbatchCount} microbatches"
        : "";
}

enum Suspicion : byte
{
    /// <summary>Says nothing.</summary>
    Silent,

    /// <summary>Does not answer what it was sent.</summary>
    NoAnswer,

    /// <summary>Accepted work and does not finish it within a multiple of its usual time.</summary>
    Overdue,

    /// <summary>Speaks, but takes no gradient: perhaps it hears nobody. Those that feed it cannot see this.</summary>
    Deaf,
}

abstract record PeerMessage
{
    /// <summary>First words of a peer that holds nothing. The token is empty for an identity that the run knows.</summary>
    public sealed record Join(PeerProfile Profile, string Token) : PeerMessage;

    /// <summary>First words of a member after its connection broke.</summary>
    public sealed record Hello(int AdmittedEpoch, bool HasState, StepReport Report) : PeerMessage;

    /// <param name="SilenceNanoseconds">How long ago this peer last heard the orchestrator.</param>
    /// <param name="Open">What the compute thread is at.</param>
    /// <param name="BulkBytes">Of gradient shares and states, received over the connections that it has now.</param>
    public sealed record Heartbeat(long ServiceNanoseconds, long SilenceNanoseconds, OpenTask Open = default, long BulkBytes = 0) : PeerMessage;

    /// <summary>The gradient of the microbatch is in this peer's sum, once.</summary>
    public sealed record Contributed(int Step, int Generation, int Microbatch, double Loss) : PeerMessage;

    /// <summary>The stage's sum over replicas is here, beside this peer's own sum, which is untouched.</summary>
    /// <param name="TensorSquares">Sum of squares of each of the stage's gradient tensors, in canonical order.</param>
    public sealed record Reduced(int Step, long ReduceId, ImmutableArray<double> TensorSquares) : PeerMessage;

    /// <summary>The asked reduction does not match what this peer has summed.</summary>
    public sealed record ReduceRefused(int Step, long ReduceId, StepReport Report) : PeerMessage;

    /// <summary>The optimizer step is done. StateHash 0: not computed.</summary>
    public sealed record Applied(int Step, ulong StateHash) : PeerMessage;

    public sealed record StateLoaded(int AdmittedEpoch, int Step) : PeerMessage;

    public sealed record StateFailed(int AdmittedEpoch, string Reason) : PeerMessage;

    public sealed record CheckpointWritten(int AdmittedEpoch, int Step, int Stage) : PeerMessage;

    /// <summary>For the event log and people; decides nothing.</summary>
    public sealed record Says(string Text) : PeerMessage;

    /// <summary>The peer is to leave, as by a drain: it finishes what it holds and goes once another one holds its stage.</summary>
    public sealed record AsksToLeave : PeerMessage;

    public sealed record Suspects(PeerId Peer, Suspicion Reason) : PeerMessage;
}
