// Payloads on their way. A link may be slower than compute: then a payload takes its time, and its receiver owes nothing yet.
//   under way   from the send until the receiver's transport has acknowledged the last byte. The clock is the link's: it begins
//               anew with every byte that is acknowledged, and only a standstill of AnswerLimit is suspicious
//   arrived     from then on the receiver owes an answer within AnswerLimit
// A stopped process, a dead host and a blackhole acknowledge nothing; a hung loop acknowledges and says nothing, which is silence.
// Moving is not enough for ever: a payload that has been the first of its lane for longer than max(TransferLeast, OverdueFactor *
// the usual time of that link) is overdue. Invariant: of a payload under way there is no other copy on the same link.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    /// <summary>The transport of a peer has acknowledged so many payload bytes in all over the present connection.</summary>
    public void HandleAcknowledged(PeerId peer, long bytes, Instant now)
    {
        if (!_neighbourIndex.TryGetValue(peer, out int i) || _neighbours[i].AcknowledgedBytes == bytes)
            return;
        (_neighbours[i].AcknowledgedBytes, _neighbours[i].MovedAt) = (bytes, now);
    }

    /// <summary>A Forward or Gradient that was sent to a peer is acknowledged whole, or its sending has ended otherwise.</summary>
    public void HandleArrived(PeerId peer, in WorkMessage message, Instant now)
    {
        if (!_neighbourIndex.TryGetValue(peer, out int i))
            return;
        ref Neighbour neighbour = ref _neighbours[i];
        Instant former = neighbour.ArrivedAt;
        (neighbour.ArrivedAt, neighbour.MovedAt) = (now, now);
        if (message.Work.Step != Step || (uint)message.Work.Microbatch >= (uint)_entries.Length)
            return;
        ref Entry entry = ref _entries[message.Work.Microbatch];
        if (message.Kind == WorkKind.Forward && entry is { Hand: Leg.Sent, IsHandUnderWay: true } && entry.Downstream == peer && entry.HandAttempt == message.Work.Attempt)
        {
            Average(ref neighbour.UsualTransferSeconds, now - Instant.Later(entry.SentAt, former));
            (entry.IsHandUnderWay, entry.SentAt) = (false, now);
        }
        else if (message.Kind == WorkKind.Gradient && entry is { Return: Leg.Sent, IsReturnUnderWay: true } && entry.Upstream == peer)
        {
            Average(ref neighbour.UsualTransferSeconds, now - Instant.Later(entry.ReturnAt, former));
            (entry.IsReturnUnderWay, entry.ReturnAt) = (false, now);
        }
    }

    // Sent at a time, not answered, perhaps still under way.
    bool IsUnanswered(PeerId peer, bool isUnderWay, Instant sentAt, Instant now)
    {
        if (!isUnderWay || !_neighbourIndex.TryGetValue(peer, out int i))
            return now - sentAt > _settings.AnswerLimit;
        ref readonly Neighbour neighbour = ref _neighbours[i];
        var patience = TimeSpan.FromSeconds(Math.Max(_settings.TransferLeast.TotalSeconds, _settings.OverdueFactor * neighbour.UsualTransferSeconds));
        return now - Instant.Later(sentAt, neighbour.MovedAt) > _settings.AnswerLimit || now - Instant.Later(sentAt, neighbour.ArrivedAt) > patience;
    }

    static void Average(ref double usual, TimeSpan sample) =>
        usual = usual == 0 ? sample.TotalSeconds : usual + 0.2 * (sample.TotalSeconds - usual);
}
