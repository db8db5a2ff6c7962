// What a peer's loop is told. What happens for every microbatch is a kind of its own with its values beside it; everything
// else, a few times a step or less, is an Action.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

enum LoopEventKind : byte
{
    /// <summary>Do is called.</summary>
    Do,

    /// <summary>A payload arrived whole in Slot over Link from Peer; Message says which.</summary>
    Delivered,

    /// <summary>The payload of Message, which was sent to Peer, is there whole, or its sending has ended otherwise.</summary>
    Arrived,

    /// <summary>Peer says Message.</summary>
    Work,

    /// <summary>The compute thread has finished Compute of Message.Work with Loss.</summary>
    Computed,

    /// <summary>Ids of Message.Work lie in Slot; Ids says which of them.</summary>
    Ids,

    /// <summary>The orchestrator grants Message.Work.</summary>
    Granted,

    /// <summary>The orchestrator has nothing left to give of the step of Message.Work.</summary>
    GivenOut,

    /// <summary>The orchestrator lives.</summary>
    Pulse,
}

readonly record struct LoopEvent(LoopEventKind Kind)
{
    public Action? Do { get; init; }

    public PeerLink? Link { get; init; }

    public PeerId Peer { get; init; }

    public WorkMessage Message { get; init; }

    public Slot? Slot { get; init; }

    public ComputeKind Compute { get; init; }

    public double Loss { get; init; }

    public TokenPiece Ids { get; init; }

    /// <summary>Whose words this is one of, for Work.</summary>
    public WordQuota? Quota { get; init; }

    public static LoopEvent Of(Action what) => new(LoopEventKind.Do) { Do = what };
}
