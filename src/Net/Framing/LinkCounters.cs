// What a link has done so far, counted where it happens.
namespace OrionNative.Net.Framing;

/// <summary>Counters of one link. Payload bytes are as handed to or taken from the transport, headers not included.</summary>
public record struct LinkCounters
{
    /// <summary>Messages handed to the transport whole.</summary>
    public long SentMessages { get; set; }

    /// <summary>Their payloads, and the sent parts of abandoned ones.</summary>
    public long SentPayloadBytes { get; set; }

    /// <summary>Bytes of the data lanes, frames included, that the peer's transport has acknowledged.</summary>
    public long AcknowledgedBytes { get; set; }

    /// <summary>Messages that arrived whole and with the right digest.</summary>
    public long ReceivedMessages { get; set; }

    /// <summary>Payload bytes that arrived, refused ones included.</summary>
    public long ReceivedPayloadBytes { get; set; }

    /// <summary>Sent messages that were accepted.</summary>
    public long Accepted { get; set; }

    /// <summary>Sent messages that were answered BUSY.</summary>
    public long Busy { get; set; }

    /// <summary>Sent messages that were answered DUPLICATE.</summary>
    public long Duplicate { get; set; }

    /// <summary>Sent messages that were answered REFUSED.</summary>
    public long Refused { get; set; }

    /// <summary>Sent messages that ended without an answer: cancelled, expired, or the link closed.</summary>
    public long Unanswered { get; set; }

    internal void Count(AnswerKind outcome)
    {
        switch (outcome)
        {
            case AnswerKind.Accepted: Accepted++; break;
            case AnswerKind.Busy: Busy++; break;
            case AnswerKind.Duplicate: Duplicate++; break;
            case AnswerKind.Refused: Refused++; break;
            default: Unanswered++; break;
        }
    }
}
