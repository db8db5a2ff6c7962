// What must outlive the orchestrator: the append-only log. Its state is a function of these records and of what the peers
// say when they are back. A record is durable before any later effect of the same list is performed.
using System.Collections.Immutable;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

abstract record DurableRecord
{
    /// <summary>An orchestrator took over; terms only grow.</summary>
    public sealed record TermStarted(int Term) : DurableRecord;

    public sealed record TokenIssued(string Hash, int Uses, long ExpiresUnixSeconds) : DurableRecord;

    public sealed record TokenUsed(string Hash, PeerId Peer) : DurableRecord;

    public sealed record PeerAdmitted(PeerProfile Profile) : DurableRecord;

    public sealed record PeerRemoved(PeerId Peer, int Epoch, string Reason) : DurableRecord;

    public sealed record DrainAsked(PeerId Peer) : DurableRecord;

    public sealed record PlacementPublished(Placement Placement) : DurableRecord;

    /// <summary>The point of no return of a step. Branch counts the rollbacks before it.</summary>
    public sealed record StepCommitted(int Branch, int Step, double Scale, double GradientNorm, double Loss) : DurableRecord
    {
        /// <summary>Whose sums the applied gradient is made of: each (microbatch, stage) once.</summary>
        public ImmutableArray<GradientShare> Shares { get; init; } = [];
    }

    public sealed record CheckpointCompleted(int Step) : DurableRecord;

    /// <summary>Steps after ToStep are undone: their weights were lost with the last holder of a stage.</summary>
    public sealed record RolledBack(int Branch, int FromStep, int ToStep, string Reason) : DurableRecord;

    public sealed record RunEnded(int Step, string Reason) : DurableRecord;
}
