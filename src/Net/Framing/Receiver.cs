// The receiving half of a link: frames of the data lanes into the slots that were granted for them.
//   entry     Granted -> Arriving -> gone (the slot is the handler's) | Granted again (refused, aborted, duplicate)
//                     -> Discarding -> Granted again
// Invariant: memory is touched only below the length that the header announced, which the slot holds, and only after
// Admit has agreed; a payload is shown only when whole and when its digest is the header's.
namespace OrionNative.Net.Framing;

interface IReceiverHost
{
    /// <summary>A header has arrived: take the payload, or answer already now.</summary>
    Answer Admit(in MessageHeader header);

    /// <summary>A whole, checked payload; the slot is the handler's if it accepts or defers.</summary>
    Answer Deliver(in MessageHeader header, Slot slot, ulong id);

    /// <summary>Tells the peer.</summary>
    void SendGrant(Lane lane, uint slot, ulong bytes);

    /// <summary>Tells the peer.</summary>
    void SendAnswer(ulong id, Answer answer);
}

sealed unsafe class Receiver(IReceiverHost host, DuplicateWindow window, long nowNanoseconds)
{
    enum EntryState { Unused, Granted, Arriving, Discarding }

    sealed class Entry
    {
        public readonly Blake3 Digest = new();
        public int Index;
        public EntryState State;
        public Slot? Slot;
        public Lane Lane;
        public MessageHeader Header;
        public ulong Id, Filled;
        public long BegunNanoseconds;
    }

    /// <summary>What is at the front of a lane; partial frames wait here.</summary>
    sealed class Parser
    {
        public readonly byte[] Partial = new byte[DataFrame.Bytes + MessageHeader.Bytes];
        public int Have, Need = DataFrame.Bytes;
        public long BegunNanoseconds;
        public Entry? Target;
        public ulong Left;
    }

    const int EntriesMax = 4096;

    // What a link with a begun message must bring while patience lasts: 26 kbit/s with the usual 20 s.
    const long LeastBytes = 1 << 16;

    readonly List<Entry> _entries = [];
    readonly Stack<Entry> _unused = [];
    readonly Parser[] _parsers = [new(), new(), new(), new()];
    long _now = nowNanoseconds; // as of the last tick
    long _markedAt = nowNanoseconds, _markedBytes;
    int _repeats;

    public LinkCounters Counters;

    /// <summary>Slots that the peer may fill now.</summary>
    public int GrantedCount { get; private set; }

    /// <summary>Lets the peer fill a slot.</summary>
    public void Grant(Slot slot, Lane lane)
    {
        if (!_unused.TryPop(out Entry? entry))
        {
            if (_entries.Count == EntriesMax) throw new InvalidOperationException($"A link has at most {EntriesMax} granted slots.");
            _entries.Add(entry = new Entry { Index = _entries.Count });
        }
        (entry.Slot, entry.Lane) = (slot, lane);
        Offer(entry);
    }

    public void Receive(Lane lane, byte* data, nuint bytes)
    {
        Parser parser = _parsers[(int)lane];
        while (bytes > 0)
        {
            nuint taken = parser.Left > 0 ? Payload(parser, data, bytes) : Frame(parser, lane, data, bytes);
            data += taken;
            bytes -= taken;
        }
    }

    /// <summary>Names a peer that began a message and then brings next to nothing; null if there is none. The whole link counts:
    /// a message may wait long behind others, but those bring bytes.</summary>
    public string? Stalled(long now, TimeSpan patience)
    {
        _now = now;
        long brought = Counters.ReceivedPayloadBytes - _markedBytes;
        if (brought >= LeastBytes) (_markedAt, _markedBytes, brought) = (now, Counters.ReceivedPayloadBytes, 0);
        foreach (Entry entry in _entries)
        {
            if (entry.State is not (EntryState.Arriving or EntryState.Discarding)) continue;
            if (IsLong(entry.BegunNanoseconds, patience))
                return $"message {entry.Id} ({entry.Header.Kind}) stopped at {entry.Filled} of {entry.Header.PayloadBytes} bytes; the link brought {brought} bytes in {patience.TotalSeconds} s";
        }
        foreach (Parser parser in _parsers)
        {
            if (parser.Have > 0 && IsLong(parser.BegunNanoseconds, patience)) return $"a data frame stopped after {parser.Have} bytes for {patience.TotalSeconds} s";
        }
        return null;
    }

    bool IsLong(long begunAt, TimeSpan patience) => _now - Math.Max(begunAt, _markedAt) > patience.Ticks * 100;

    /// <summary>The connection is gone: the slots go back to where they came from.</summary>
    public void Release()
    {
        foreach (Entry entry in _entries)
        {
            if (entry.State == EntryState.Unused) continue;
            entry.Slot!.Withdraw();
            entry.Slot.Pool.Return(entry.Slot);
            (entry.State, entry.Slot) = (EntryState.Unused, null);
        }
        GrantedCount = 0;
    }

    nuint Frame(Parser parser, Lane lane, byte* data, nuint bytes)
    {
        int take = (int)Math.Min((nuint)(parser.Need - parser.Have), bytes);
        if (parser.Have == 0) parser.BegunNanoseconds = _now;
        new ReadOnlySpan<byte>(data, take).CopyTo(parser.Partial.AsSpan(parser.Have));
        parser.Have += take;
        if (parser.Have < parser.Need) return (nuint)take;
        DataFrame frame = DataFrame.Decode(parser.Partial);
        if (parser.Have < DataFrame.Bytes + DataFrame.BodyBytes(frame.Type))
        {
            parser.Need = DataFrame.Bytes + DataFrame.BodyBytes(frame.Type);
            return (nuint)take;
        }
        (parser.Have, parser.Need) = (0, DataFrame.Bytes);
        Entry entry = Named(frame, lane);
        switch (frame.Type)
        {
            case DataFrameType.Begin: Begin(entry, frame, parser.Partial.AsSpan(DataFrame.Bytes)); break;
            case DataFrameType.Data: Data(entry, frame, parser); break;
            case DataFrameType.Abort: Abort(entry, frame); break;
            case DataFrameType.End: End(entry, frame, parser.Partial.AsSpan(DataFrame.Bytes, Digest.Bytes)); break;
        }
        return (nuint)take;
    }

    Entry Named(DataFrame frame, Lane lane)
    {
        if (frame.Slot >= (uint)_entries.Count) throw new InvalidDataException($"a {frame.Type} frame names slot {frame.Slot}; {_entries.Count} were granted");
        Entry entry = _entries[(int)frame.Slot];
        bool fits = frame.Type == DataFrameType.Begin ? entry.State == EntryState.Granted : entry.State is EntryState.Arriving or EntryState.Discarding;
        if (!fits || entry.Lane != lane)
            throw new InvalidDataException($"a {frame.Type} frame on lane {lane} names slot {frame.Slot}, which is {entry.State} on lane {entry.Lane}");
        return entry;
    }

    void Begin(Entry entry, DataFrame frame, ReadOnlySpan<byte> wire)
    {
        if (!MessageHeader.TryDecode(wire, out MessageHeader header, out string? defect)) throw new InvalidDataException(defect);
        if (header.Lane != entry.Lane) throw new InvalidDataException($"a {header.Kind} message came on lane {entry.Lane}");
        if (header.PayloadBytes > entry.Slot!.CapacityBytes)
            throw new InvalidDataException($"a payload of {header.PayloadBytes} bytes was begun in a slot of {entry.Slot.CapacityBytes}");
        if (frame.Value == 0) throw new InvalidDataException("message id 0 is not used");
        (entry.Header, entry.Id, entry.Filled, entry.BegunNanoseconds) = (header, frame.Value, 0, _now);
        GrantedCount--;
        entry.Slot.Arrive();
        Answer answer = window.Contains(header) ? Repeated(header) : host.Admit(header);
        if (answer.Kind != AnswerKind.Accepted)
        {
            entry.State = EntryState.Discarding;
            host.SendAnswer(entry.Id, answer.Kind == AnswerKind.Deferred ? Answer.Busy : answer);
            if (header.PayloadBytes == 0) Offer(entry);
            return;
        }
        entry.State = EntryState.Arriving;
        entry.Digest.Start(entry.Slot.Data, header.PayloadBytes);
        if (header.PayloadBytes == 0) Whole(entry);
    }

    static void Data(Entry entry, DataFrame frame, Parser parser)
    {
        ulong left = entry.Header.PayloadBytes - entry.Filled;
        if (frame.Value == 0 || frame.Value > left)
            throw new InvalidDataException($"message {entry.Id} lacks {left} of {entry.Header.PayloadBytes} bytes; a frame brings {frame.Value}");
        (parser.Target, parser.Left) = (entry, frame.Value);
    }

    void Abort(Entry entry, DataFrame frame)
    {
        if (frame.Value != entry.Id) throw new InvalidDataException($"an Abort names message {frame.Value}; slot {frame.Slot} holds {entry.Id}");
        Offer(entry);
    }

    void End(Entry entry, DataFrame frame, ReadOnlySpan<byte> digest)
    {
        if (frame.Value != entry.Id || !entry.Header.Digest.IsEmpty || entry.Filled < entry.Header.PayloadBytes)
            throw new InvalidDataException($"an End names message {frame.Value}; slot {frame.Slot} holds {entry.Id} with {entry.Filled} of {entry.Header.PayloadBytes} bytes");
        entry.Header = entry.Header with { Digest = new Digest(digest) };
        if (entry.State == EntryState.Arriving) Whole(entry);
        else Offer(entry);
    }

    nuint Payload(Parser parser, byte* data, nuint bytes)
    {
        Entry entry = parser.Target!;
        nuint take = (nuint)Math.Min(parser.Left, bytes);
        if (entry.State == EntryState.Arriving)
        {
            Buffer.MemoryCopy(data, entry.Slot!.Data + entry.Filled, entry.Slot.CapacityBytes - (nuint)entry.Filled, take);
            entry.Digest.Advance(entry.Filled + take);
        }
        entry.Filled += take;
        parser.Left -= take;
        Counters.ReceivedPayloadBytes += (long)take;
        if (entry.Filled < entry.Header.PayloadBytes) return take;
        parser.Target = null;
        if (entry.Header.Digest.IsEmpty) return take; // an End brings it
        if (entry.State == EntryState.Arriving) Whole(entry);
        else Offer(entry);
        return take;
    }

    void Whole(Entry entry)
    {
        Span<byte> bytes = stackalloc byte[Blake3.DigestBytes];
        entry.Digest.Finish(bytes);
        Answer answer;
        if (new Digest(bytes) != entry.Header.Digest) answer = Answer.Refused(Refusal.DigestMismatch);
        else if (!window.TryAdd(entry.Header)) answer = Repeated(entry.Header);
        else
        {
            _repeats = 0;
            Counters.ReceivedMessages++;
            entry.Slot!.Complete();
            answer = host.Deliver(entry.Header, entry.Slot, entry.Id);
            if (answer.Kind is AnswerKind.Accepted or AnswerKind.Deferred)
            {
                // the slot is the handler's; it may have granted it again already
                (entry.State, entry.Slot) = (EntryState.Unused, null);
                _unused.Push(entry);
                if (answer.Kind == AnswerKind.Accepted) host.SendAnswer(entry.Id, answer);
                return;
            }
            window.Remove(entry.Header);
        }
        host.SendAnswer(entry.Id, answer);
        Offer(entry);
    }

    // An honest peer repeats what was under way when a link broke: at most one message a slot.
    Answer Repeated(in MessageHeader header) => ++_repeats <= EntriesMax ? Answer.Duplicate
        : throw new InvalidDataException($"{_repeats} messages in a row were repeats, the last a {header.Kind} of step {header.Step}");

    void Offer(Entry entry)
    {
        entry.Slot!.Grant();
        entry.State = EntryState.Granted;
        GrantedCount++;
        host.SendGrant(entry.Lane, (uint)entry.Index, entry.Slot.CapacityBytes);
    }
}
