// One link's protocol: lanes in, lanes out, no socket, no thread, no clock of its own (time is an argument). Sender and Receiver do the data lanes;
// this file does the control lane, whose frames go before everything else.
//   Hello first, both ways; then Grant, Answer, Request, Response, Ping, Pong in any order.
// Invariant: what a peer can make this side keep is bounded: granted slots, one answer each, a fixed control queue.
namespace OrionNative.Net.Framing;

/// <summary>What a session tells its owner, on the loop.</summary>
interface ISessionHost
{
    Answer Admit(in MessageHeader header);

    Answer Deliver(in MessageHeader header, Slot slot, ulong id);

    void Finished(Outgoing message);

    void Requested(ulong id, ReadOnlySpan<byte> body);

    void Responded(ulong id, ushort status, ReadOnlySpan<byte> body);

    void Greeted();
}

sealed unsafe class Session : ILaneSource, ILaneSink, IReceiverHost
{
    /// <summary>Control bytes that may wait for a peer; one that reads none of them is cut off.</summary>
    public const int ControlRingBytes = 1 << 18;

    // answers, grants and pongs, which are never waited with
    const int ControlReserveBytes = 1 << 15;

    readonly ISessionHost _host;
    readonly UInt128 _run;
    readonly Func<long> _clock;
    readonly DuplicateWindow _window;
    readonly LaneQueue _control;
    readonly Dictionary<ulong, MessageHeader> _deferred = new(256);
    readonly byte[] _partial = new byte[ControlFrame.Bytes + ControlFrame.BodyBytesMax];
    Standstill _standstill;
    int _have;
    long _now, _begunAt;
    bool _greeted;

    public Session(ISessionHost host, UInt128 run, DuplicateWindow window, Func<long> clock)
    {
        (_host, _run, _window, _clock) = (host, run, window, clock);
        _control = new LaneQueue(ControlRingBytes, static _ => { });
        Sender = new Sender(host.Finished);
        _now = clock();
        Receiver = new Receiver(this, window, _now);
        Span<byte> wire = Add(new ControlFrame(ControlFrameType.Hello) { Status = MessageHeader.Version, BodyBytes = 16 });
        System.Buffers.Binary.BinaryPrimitives.WriteUInt128LittleEndian(wire, run);
    }

    public Sender Sender { get; }

    public Receiver Receiver { get; }

    /// <summary>Round trips measured by <see cref="Ping"/>: the last one, and smoothed by 1/8; 0 before the first.</summary>
    public long RttNanoseconds { get; private set; }

    /// <summary>Unacknowledged control bytes wait; someone should hear of it when this stays true.</summary>
    public bool ControlWaits => _control.HasUnsent;

    public nuint Peek(Lane lane, out byte* data) => lane == Lane.Control ? _control.Peek(out data, out _) : Sender.Peek(lane, out data);

    public void Advance(Lane lane, nuint bytes)
    {
        if (lane == Lane.Control) _control.Advance(bytes);
        else Sender.Advance(lane, bytes);
    }

    public void Acknowledged(Lane lane, nuint bytes)
    {
        if (lane == Lane.Control)
        {
            _standstill.Moved();
            _control.Acknowledged(bytes);
        }
        else Sender.Acknowledged(lane, bytes);
    }

    public void Receive(Lane lane, byte* data, nuint bytes)
    {
        if (lane > Lane.Bulk) throw new InvalidDataException($"lane {(byte)lane}; there are 0 to {(byte)Lane.Bulk}");
        if (lane != Lane.Control)
        {
            Receiver.Receive(lane, data, bytes);
            return;
        }
        while (bytes > 0) Control(ref data, ref bytes);
    }

    /// <summary>Answers a message whose handler deferred; false if the link knows no such message.</summary>
    public bool Answer(ulong id, Answer answer)
    {
        if (!_deferred.Remove(id, out MessageHeader header)) return false;
        if (answer.Kind != AnswerKind.Accepted) _window.Remove(header);
        ((IReceiverHost)this).SendAnswer(id, answer);
        return true;
    }

    public void Request(ulong id, ReadOnlySpan<byte> body) =>
        body.CopyTo(Add(new ControlFrame(ControlFrameType.Request) { Id = id, BodyBytes = (uint)body.Length }));

    public void Respond(ulong id, ushort status, ReadOnlySpan<byte> body) =>
        body.CopyTo(Add(new ControlFrame(ControlFrameType.Response) { Id = id, Status = status, BodyBytes = (uint)body.Length }));

    public void Ping() => Add(new ControlFrame(ControlFrameType.Ping) { Value = (ulong)_clock() });

    /// <summary>The time, for deadlines and patience; the owner calls it a few times a second.</summary>
    public string? Tick(long nowNanoseconds, TimeSpan patience)
    {
        _now = nowNanoseconds;
        Sender.Expire(_now);
        if (_have > 0 && _now - _begunAt > patience.Ticks * 100) return $"a control frame stopped after {_have} bytes for {patience.TotalSeconds} s";
        // longer than transports wait for a silent peer: what is cut off here speaks, but does not read or acknowledge
        return Receiver.Stalled(_now, patience) ?? Sender.Stalled(_now, 3 * patience) ?? Unread(3 * patience);
    }

    // pings alone would take hours to fill the ring
    string? Unread(TimeSpan patience) =>
        _standstill.Lasts(_control.HasUnsent || _control.HasUnacknowledged, _now, patience) ? $"the peer took no control frame for {patience.TotalSeconds} s" : null;

    public void Release()
    {
        _control.Release();
        Sender.Release();
        Receiver.Release();
    }

    Answer IReceiverHost.Admit(in MessageHeader header) =>
        header.Run != _run ? Framing.Answer.Refused(Refusal.WrongRun) : _host.Admit(header);

    Answer IReceiverHost.Deliver(in MessageHeader header, Slot slot, ulong id)
    {
        Answer answer = _host.Deliver(header, slot, id);
        if (answer.Kind == AnswerKind.Deferred) _deferred[id] = header;
        return answer;
    }

    void IReceiverHost.SendGrant(Lane lane, uint slot, ulong bytes) =>
        Add(new ControlFrame(ControlFrameType.Grant) { Lane = lane, Slot = slot, Value = bytes });

    void IReceiverHost.SendAnswer(ulong id, Answer answer) =>
        Add(new ControlFrame(ControlFrameType.Answer) { Id = id, Lane = Lane.Control, Slot = (uint)answer.Kind, Status = (ushort)answer.Reason });

    /// <summary>Room for a word of so many bytes now; what the peer makes this side say finds some even behind many words.</summary>
    public bool HasRoom(int bodyBytes) => _control.HasRoom(ControlFrame.Bytes + bodyBytes + ControlReserveBytes);

    Span<byte> Add(ControlFrame frame)
    {
        int bytes = ControlFrame.Bytes + (int)frame.BodyBytes;
        if (!_control.HasRoom(bytes)) throw new InvalidDataException($"the peer leaves {ControlRingBytes} bytes of control frames unread");
        Span<byte> wire = _control.AddFrame(bytes, null);
        frame.Encode(wire);
        return wire[ControlFrame.Bytes..];
    }

    void Control(ref byte* data, ref nuint bytes)
    {
        int need = ControlFrame.Bytes;
        if (_have == 0) _begunAt = _now;
        if (_have >= need) need += (int)ControlFrame.Decode(_partial).BodyBytes;
        int take = (int)Math.Min((nuint)(need - _have), bytes);
        new ReadOnlySpan<byte>(data, take).CopyTo(_partial.AsSpan(_have));
        _have += take;
        data += take;
        bytes -= (nuint)take;
        if (_have < need) return;
        ControlFrame frame = ControlFrame.Decode(_partial);
        if (_have < ControlFrame.Bytes + (int)frame.BodyBytes) return;
        _have = 0;
        Handle(frame, _partial.AsSpan(ControlFrame.Bytes, (int)frame.BodyBytes));
    }

    void Handle(ControlFrame frame, ReadOnlySpan<byte> body)
    {
        if (_greeted == (frame.Type == ControlFrameType.Hello))
            throw new InvalidDataException(_greeted ? "a second Hello" : $"{frame.Type} before Hello");
        switch (frame.Type)
        {
            case ControlFrameType.Hello: Greet(frame, body); break;
            case ControlFrameType.Grant: Sender.Granted(frame.Lane, frame.Slot, frame.Value); break;
            case ControlFrameType.Answer: Answered(frame); break;
            case ControlFrameType.Request: _host.Requested(frame.Id, body); break;
            case ControlFrameType.Response: _host.Responded(frame.Id, frame.Status, body); break;
            case ControlFrameType.Ping: Add(new ControlFrame(ControlFrameType.Pong) { Value = frame.Value }); break;
            case ControlFrameType.Pong: Pong((long)frame.Value); break;
        }
    }

    void Greet(ControlFrame frame, ReadOnlySpan<byte> body)
    {
        if (frame.Status != MessageHeader.Version)
            throw new InvalidDataException($"the peer speaks message version {frame.Status}, this side {MessageHeader.Version}: update the older one");
        UInt128 run = System.Buffers.Binary.BinaryPrimitives.ReadUInt128LittleEndian(body);
        if (run != _run) throw new InvalidDataException($"the peer belongs to run {run:x32}, this side to {_run:x32}");
        _greeted = true;
        _host.Greeted();
    }

    void Answered(ControlFrame frame)
    {
        var kind = (AnswerKind)frame.Slot;
        if (kind is < AnswerKind.Accepted or > AnswerKind.Refused) throw new InvalidDataException($"answer {frame.Slot} is unknown");
        Sender.Answered(frame.Id, new Answer(kind, (Refusal)frame.Status));
    }

    void Pong(long sentNanoseconds)
    {
        long sample = _clock() - sentNanoseconds;
        if (sentNanoseconds <= 0 || sample <= 0) return;
        RttNanoseconds = RttNanoseconds == 0 ? sample : RttNanoseconds + ((sample - RttNanoseconds) / 8);
    }
}
