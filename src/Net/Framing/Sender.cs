// The sending half of a link: which message speaks next on a data lane, and what has become of each.
// No slot, no send: a message leaves Waiting when the receiver has granted a slot of its lane that holds it (the smallest
// that does). Backward and Forward send in order; Bulk asks after every chunk which message has the least left.
// Invariant: a payload is offered to the transport only between BeginRead and EndRead of its slot.
namespace OrionNative.Net.Framing;

sealed unsafe class Sender
{
    /// <summary>Payload bytes between two chances to abandon a message or to turn to another.</summary>
    public const int ChunkBytes = 1 << 20;

    const int RingBytes = 1 << 16, GrantsMax = 4096, LaneCount = 4;
    const int BeginBytes = DataFrame.Bytes + MessageHeader.Bytes;

    readonly LaneQueue[] _lanes = new LaneQueue[LaneCount];
    readonly List<Outgoing>[] _waiting = new List<Outgoing>[LaneCount], _sending = new List<Outgoing>[LaneCount];
    readonly List<(uint Slot, ulong Bytes)>[] _grants = new List<(uint, ulong)>[LaneCount];
    readonly Dictionary<ulong, Outgoing> _undecided = new(1024);
    readonly Dictionary<ulong, Outgoing> _unfinished = new(1024);
    readonly Action<Outgoing> _finished;
    ulong _lastId;
    Standstill _standstill;

    public Sender(Action<Outgoing> finished)
    {
        _finished = finished;
        for (int lane = 1; lane < LaneCount; lane++)
        {
            _lanes[lane] = new LaneQueue(RingBytes, Released);
            (_waiting[lane], _sending[lane], _grants[lane]) = ([], [], []);
        }
    }

    public LinkCounters Counters;

    public int Unfinished => _unfinished.Count;

    /// <summary>Slots of a lane that the peer has granted and no message has taken.</summary>
    public int Granted(Lane lane) => _grants[(int)lane].Count;

    public void Queue(Outgoing message)
    {
        message.Id = ++_lastId;
        _unfinished.Add(message.Id, message);
        _undecided.Add(message.Id, message);
        _waiting[(int)message.Header.Lane].Add(message);
        Promote((int)message.Header.Lane);
    }

    public void Granted(Lane lane, uint slot, ulong bytes)
    {
        if (lane == Lane.Control) throw new InvalidDataException("a slot was granted for the control lane, which carries no payload");
        List<(uint Slot, ulong Bytes)> grants = _grants[(int)lane];
        if (grants.Count == GrantsMax) throw new InvalidDataException($"more than {GrantsMax} slots were granted for lane {lane}");
        grants.Add((slot, bytes));
        Promote((int)lane);
    }

    public void Answered(ulong id, Answer answer)
    {
        if (id == 0 || id > _lastId) throw new InvalidDataException($"an answer names message {id}; the last one sent was {_lastId}");
        if (!_undecided.Remove(id, out Outgoing? message)) return; // cancelled or expired meanwhile
        if (!message.Begun) throw new InvalidDataException($"message {id} was answered {answer} before it was sent");
        if (answer.Kind == AnswerKind.Accepted && message.State != OutgoingState.Sent)
            throw new InvalidDataException($"message {id} was accepted after {message.SentBytes} of {message.Header.PayloadBytes} bytes");
        Decide(message, answer);
    }

    public void Cancel(ulong id, AnswerKind kind)
    {
        if (_undecided.Remove(id, out Outgoing? message)) Decide(message, new Answer(kind));
    }

    public void Expire(long nowNanoseconds)
    {
        while (Expired(nowNanoseconds) is { } message) Cancel(message.Id, AnswerKind.Expired);
    }

    Outgoing? Expired(long nowNanoseconds)
    {
        foreach (Outgoing message in _undecided.Values)
            if (message.DeadlineNanoseconds <= nowNanoseconds) return message;
        return null;
    }

    public nuint Peek(Lane lane, out byte* data)
    {
        LaneQueue queue = _lanes[(int)lane];
        if (!queue.HasUnsent) Fill((int)lane, queue);
        nuint bytes = queue.Peek(out data, out Outgoing? payloadOf);
        // what the transport has taken is hashed now, while it is in cache and its packets are on their way
        if (payloadOf is { DigestFollows: true }) payloadOf.Hash.Advance((ulong)(data - payloadOf.Slot!.Data));
        return bytes;
    }

    public void Advance(Lane lane, nuint bytes) => _lanes[(int)lane].Advance(bytes);

    public void Acknowledged(Lane lane, nuint bytes)
    {
        _standstill.Moved();
        Counters.AcknowledgedBytes += (long)bytes;
        _lanes[(int)lane].Acknowledged(bytes);
    }

    /// <summary>Names a peer that lives and lets nothing go or acknowledges nothing, so that slots would stay in flight for ever; null if there
    /// is none. Called a few times a second.</summary>
    public string? Stalled(long now, TimeSpan patience)
    {
        bool waits = false;
        for (int lane = 1; lane < LaneCount; lane++) waits |= _lanes[lane].HasUnsent || _lanes[lane].HasUnacknowledged;
        return _standstill.Lasts(waits, now, patience) ? $"{_unfinished.Count} messages wait, and nothing of them was acknowledged for {patience.TotalSeconds} s" : null;
    }

    /// <summary>The connection is gone: every message ends, and nothing reads their slots.</summary>
    public void Release()
    {
        for (int lane = 1; lane < LaneCount; lane++) _lanes[lane].Release();
        foreach (Outgoing message in _unfinished.Values.ToArray())
        {
            message.Unacknowledged = 0;
            message.State = OutgoingState.Sent;
            if (!message.IsDecided) message.Outcome = new Answer(AnswerKind.LinkClosed);
            Finish(message);
        }
    }

    // Gives granted slots to waiting messages, first come first served; one that no slot holds lets others pass.
    void Promote(int lane)
    {
        List<Outgoing> waiting = _waiting[lane];
        List<(uint Slot, ulong Bytes)> grants = _grants[lane];
        for (int i = 0; i < waiting.Count && grants.Count > 0;)
        {
            int best = -1;
            for (int g = 0; g < grants.Count; g++)
                if (grants[g].Bytes >= waiting[i].Header.PayloadBytes && (best < 0 || grants[g].Bytes < grants[best].Bytes)) best = g;
            if (best < 0)
            {
                i++;
                continue;
            }
            Outgoing message = waiting[i];
            waiting.RemoveAt(i);
            (message.GrantedSlot, message.GrantedBytes) = grants[best];
            grants.RemoveAt(best);
            message.State = OutgoingState.Sending;
            _sending[lane].Add(message);
        }
    }

    void Fill(int lane, LaneQueue queue)
    {
        List<Outgoing> sending = _sending[lane];
        while (!queue.HasUnsent && queue.HasRoom(BeginBytes + DataFrame.Bytes) && Next(sending, lane == (int)Lane.Bulk) is { } message)
        {
            if (message.Abandoned)
            {
                new DataFrame(DataFrameType.Abort, message.GrantedSlot, message.Id).Encode(queue.AddFrame(DataFrame.Bytes, message));
                Sent(lane, message);
                continue;
            }
            if (!message.Begun || message.SentBytes < message.Header.PayloadBytes) Chunk(queue, message);
            if (message.SentBytes < message.Header.PayloadBytes || (message.DigestFollows && queue.HasUnsent)) continue;
            if (message.DigestFollows) End(queue, message);
            Sent(lane, message);
        }
    }

    // The message that speaks next: on Bulk the one with the least left, because taking turns would let equal messages end
    // together and leave the link idle for the round trip that their slots need to be granted again (docs/decisions/0020).
    static Outgoing? Next(List<Outgoing> sending, bool nearestFirst)
    {
        Outgoing? next = null;
        foreach (Outgoing message in sending)
        {
            ulong left = message.Header.PayloadBytes - message.SentBytes;
            if (!nearestFirst) return message;
            if (next is null || left < next.Header.PayloadBytes - next.SentBytes) next = message;
        }
        return next;
    }

    void Chunk(LaneQueue queue, Outgoing message)
    {
        nuint bytes = (nuint)Math.Min(ChunkBytes, message.Header.PayloadBytes - message.SentBytes);
        int begin = message.Begun ? 0 : BeginBytes;
        Span<byte> frame = queue.AddFrame(begin + (bytes > 0 ? DataFrame.Bytes : 0), message);
        if (!message.Begun)
        {
            new DataFrame(DataFrameType.Begin, message.GrantedSlot, message.Id).Encode(frame);
            (message.DigestFollows ? message.Header with { Digest = default } : message.Header).Encode(frame[DataFrame.Bytes..]);
            message.Hash.Start(message.Slot!.Data, message.Header.PayloadBytes);
            message.Begun = true;
        }
        if (bytes == 0) return;
        new DataFrame(DataFrameType.Data, message.GrantedSlot, bytes).Encode(frame[begin..]);
        queue.AddPayload(message.Slot!.Data + message.SentBytes, bytes, message);
        message.SentBytes += bytes;
        Counters.SentPayloadBytes += (long)bytes;
    }

    static void End(LaneQueue queue, Outgoing message)
    {
        Span<byte> frame = queue.AddFrame(DataFrame.Bytes + Digest.Bytes, message);
        new DataFrame(DataFrameType.End, message.GrantedSlot, message.Id).Encode(frame);
        message.Hash.Finish(frame[DataFrame.Bytes..]);
    }

    void Sent(int lane, Outgoing message)
    {
        _sending[lane].Remove(message);
        message.State = OutgoingState.Sent;
        if (!message.Abandoned) Counters.SentMessages++;
        TryFinish(message);
    }

    void Decide(Outgoing message, Answer answer)
    {
        message.Outcome = answer;
        int lane = (int)message.Header.Lane;
        if (message.State == OutgoingState.Waiting)
        {
            _waiting[lane].Remove(message);
            message.State = OutgoingState.Sent;
        }
        else if (message.State == OutgoingState.Sending && !message.Begun)
        {
            _sending[lane].Remove(message);
            message.State = OutgoingState.Sent;
            _grants[lane].Add((message.GrantedSlot, message.GrantedBytes));
            Promote(lane);
        }
        else if (message.State == OutgoingState.Sending)
        {
            message.Abandoned = true; // the receiver hears of it before the next chunk
        }
        TryFinish(message);
    }

    void Released(Outgoing message)
    {
        message.Unacknowledged--;
        TryFinish(message);
    }

    void TryFinish(Outgoing message)
    {
        if (message.IsDecided && message.Unacknowledged == 0 && message.State == OutgoingState.Sent) Finish(message);
    }

    void Finish(Outgoing message)
    {
        _unfinished.Remove(message.Id);
        _undecided.Remove(message.Id);
        Counters.Count(message.Outcome.Kind);
        _finished(message);
    }
}
