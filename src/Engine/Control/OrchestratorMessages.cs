// What the orchestrator tells peers. One connection delivers them in order; after a break the peer says Hello and the
// orchestrator repeats what still matters.
using System.Collections.Immutable;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

enum JoinRefusal : byte { UnknownToken, TokenUsedUp, TokenExpired, OtherVersion, OtherModel, OtherTokenizer, TooLittleMemory, RunEnded, NoAddress, RunFull, KeyInUse }

/// <summary>One replica's part of a step's gradient. Shares are summed in the order in which they are listed.</summary>
sealed record GradientShare(PeerId Peer, int Stage, int Generation, MicrobatchSet Microbatches)
{
    /// <summary>The incarnation that summed it.</summary>
    public int AdmittedEpoch { get; init; }

    public ulong Name => NameOf(AdmittedEpoch, Generation, Microbatches);

    /// <summary>A share is named by what it holds, so one that was sent before anybody asked for it is the one that is asked for,
    /// or none: within a step an incarnation's sum of a generation with a set of microbatches has one value.</summary>
    public static ulong NameOf(int admittedEpoch, int generation, MicrobatchSet microbatches) =>
        microbatches.Fingerprint(SeededRandom.Derive((ulong)(uint)admittedEpoch, (uint)generation));
}

/// <summary>A share under way from a replica: the sender's incarnation, which sum it is, and the sender's count of its transfers,
/// which may wrap.</summary>
readonly record struct ShareTransfer(int AdmittedEpoch, int Step, ulong Name, ushort Serial)
{
    public bool IsOf(int step, ulong name) => Step == step && Name == name;

    /// <summary>True if the other one is of a later sum of the same sender. A sum never goes back, so this one is asked for no
    /// more: of each sender only the last needs to be kept. An incarnation may begin at an earlier step than the one before.</summary>
    public bool IsFollowedBy(in ShareTransfer other) =>
        other.AdmittedEpoch != AdmittedEpoch ? other.AdmittedEpoch > AdmittedEpoch
        : other.Step != Step ? other.Step > Step
        : other.Name != Name && (short)(other.Serial - Serial) > 0;
}

abstract record OrchestratorMessage
{
    public sealed record Welcome(int Term, Placement Placement) : OrchestratorMessage;

    public sealed record Refused(JoinRefusal Refusal, string Text) : OrchestratorMessage;

    /// <summary>You are not a member (any more): forget what you hold. You may join again.</summary>
    public sealed record Leave(string Reason, bool MayRejoin) : OrchestratorMessage;

    public sealed record Placed(Placement Placement) : OrchestratorMessage;

    /// <summary>Take the weights and optimizer state as of the end of Step, from Source or (None) the checkpoint.</summary>
    public sealed record LoadState(int AdmittedEpoch, int Step, PeerId Source) : OrchestratorMessage;

    /// <summary>To holders of stage 0: start these microbatches. None: nothing of the step is left to be given.</summary>
    public sealed record Grant(int Step, int Attempt, ImmutableArray<int> Microbatches) : OrchestratorMessage;

    /// <summary>Make sure that the next stage holds this microbatch.</summary>
    /// <param name="Stage">The lowest one that has not contributed it: the receiver's own or the next.</param>
    public sealed record Recheck(int Step, int Microbatch, int Stage) : OrchestratorMessage;

    /// <summary>To the stage before: the next stage finds this peer deaf; treat its unfinished work as overdue.</summary>
    public sealed record Doubted(PeerId Peer) : OrchestratorMessage;

    /// <summary>Clear your gradient sum and make it again from your kept codes, of these microbatches only.</summary>
    public sealed record Rebuild(int Step, int Generation, MicrobatchSet Keep) : OrchestratorMessage;

    public sealed record Reduce(int Step, long ReduceId, ImmutableArray<GradientShare> Shares) : OrchestratorMessage;

    /// <summary>The reduction is off; go on with the step.</summary>
    public sealed record Reopen(int Step, long ReduceId) : OrchestratorMessage;

    /// <summary>Apply: gradient = Scale * reduced sum. Checkpoint: write your slice after applying.</summary>
    public sealed record Commit(int Step, double Scale, double GradientNorm, bool Checkpoint) : OrchestratorMessage;

    /// <summary>Write your slice as of the end of Step, which was the last.</summary>
    public sealed record WriteCheckpoint(int Step) : OrchestratorMessage;

    /// <summary>A sign of life.</summary>
    public sealed record Pulse : OrchestratorMessage;

    /// <summary>What the run is waiting for, for people; empty when it goes on.</summary>
    public sealed record Holding(string Reason) : OrchestratorMessage;
}
