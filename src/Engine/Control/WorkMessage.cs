// What peers say to each other, as one plain value: the hot path's vocabulary, no allocation.
//   Forward, Gradient   carry a payload (the code, the code gradient) that the host finds by (kind, step, microbatch)
//   Answer              to Forward, Gradient and Reattach: ACCEPTED, BUSY, DUPLICATE or REFUSED with a reason
//   Handed              "the microbatch you gave me is at the next stage": the sender's clock for me stops
//   Reattach            "I stand where the microbatch's former sender stood: give me its gradient"; walks down the path
//   Adrift              "I hold this microbatch and its sender is gone": whoever replaces the sender finds me
//   Cancel              "no longer needed from you"
//   AllHanded           "whatever I get of this step is at the next stage": a hint; what is offered again later belies it
//   Status              load and speed; also the sign of life
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

enum WorkKind : byte { Forward, Gradient, Answer, Handed, Reattach, Adrift, Cancel, AllHanded, Status }

enum Verdict : byte { Accepted, Busy, Duplicate, Refused }

enum RefusalReason : byte
{
    None,

    /// <summary>The sender's epoch is older than its membership here.</summary>
    StaleEpoch,

    /// <summary>The step is committed already.</summary>
    StaleStep,

    /// <summary>The receiver has not reached this step or epoch; try again soon.</summary>
    NotYet,

    /// <summary>All slots are taken.</summary>
    NoSlot,

    /// <summary>A later attempt replaced this one.</summary>
    Superseded,

    /// <summary>The receiver does not hold this microbatch.</summary>
    Unknown,

    /// <summary>The receiver holds another stage.</summary>
    WrongStage,
}

/// <summary>Names one piece of work. <see cref="Stage"/> is the stage of the receiver for Forward, of the sender's
/// upstream for Gradient: always the stage where the work is to be done.</summary>
readonly record struct WorkId(int Epoch, int Step, int Microbatch, int Stage, int Attempt)
{
    public override string ToString() => $"e{Epoch} s{Step} m{Microbatch} stage{Stage} a{Attempt}";
}

readonly record struct WorkMessage(WorkKind Kind, WorkId Work)
{
    /// <summary>For answers: what is answered, how, and why.</summary>
    public WorkKind Answered { get; init; }

    public Verdict Verdict { get; init; }

    public RefusalReason Reason { get; init; }

    /// <summary>For Status and Answer.</summary>
    public PeerLoad Load { get; init; }

    public override string ToString() => Kind switch
    {
        WorkKind.Answer => $"{Answered} {Verdict}{(Reason == RefusalReason.None ? "" : $"({Reason})")} {Work}",
        WorkKind.Status => $"Status {Load}",
        _ => $"{Kind} {Work}",
    };
}
