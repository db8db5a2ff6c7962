// What becomes of a message, as its sender learns it. A healthy run sees all of these daily, so they are values.
namespace OrionNative.Net.Framing;

/// <summary>The outcome of one message.</summary>
public enum AnswerKind : byte
{
    /// <summary>No answer yet: a handler returns this to answer later.</summary>
    Deferred = 0,

    /// <summary>The receiver holds the whole payload and takes responsibility for it.</summary>
    Accepted = 1,

    /// <summary>Not now: offer it elsewhere or later.</summary>
    Busy = 2,

    /// <summary>The receiver has accepted the same message before.</summary>
    Duplicate = 3,

    /// <summary>Not this message, for the reason given.</summary>
    Refused = 4,

    /// <summary>The sender cancelled it. If it had been sent whole, the receiver may have accepted it.</summary>
    Cancelled = 5,

    /// <summary>No answer came before its deadline. If it had been sent whole, the receiver may have accepted it.</summary>
    Expired = 6,

    /// <summary>The link closed first. If it had been sent whole, the receiver may have accepted it.</summary>
    LinkClosed = 7,
}

/// <summary>Why a message was refused. Numbers from 256 on belong to the layers above.</summary>
public enum Refusal : ushort
{
    /// <summary>It was not.</summary>
    None = 0,

    /// <summary>It belongs to another run.</summary>
    WrongRun = 1,

    /// <summary>Its epoch is over.</summary>
    StaleEpoch = 2,

    /// <summary>This peer does not hold the stage it is for.</summary>
    WrongStage = 3,

    /// <summary>Its length or format is not what the placement expects.</summary>
    WrongShape = 4,

    /// <summary>The payload that arrived has another digest than its header says.</summary>
    DigestMismatch = 5,

    /// <summary>This peer takes no more work: it is leaving.</summary>
    Draining = 6,

    /// <summary>Nothing here waits for it.</summary>
    Unexpected = 7,
}

/// <summary>The outcome of one message, with the reason where there is one.</summary>
public readonly record struct Answer(AnswerKind Kind, Refusal Reason = Refusal.None)
{
    /// <summary>Accepted.</summary>
    public static Answer Accepted => new(AnswerKind.Accepted);

    /// <summary>Busy.</summary>
    public static Answer Busy => new(AnswerKind.Busy);

    /// <summary>Duplicate.</summary>
    public static Answer Duplicate => new(AnswerKind.Duplicate);

    /// <summary>Answered later through the link.</summary>
    public static Answer Deferred => default;

    /// <summary>Refused for a reason.</summary>
    public static Answer Refused(Refusal reason) => new(AnswerKind.Refused, reason);

    /// <summary>For logs.</summary>
    public override string ToString() => Kind == AnswerKind.Refused ? $"REFUSED({Reason})" : Kind.ToString().ToUpperInvariant();
}
