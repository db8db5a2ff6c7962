// The outgoing bytes of one lane as a queue of segments: frames lie in a ring of native memory, payloads where they are.
//   head (oldest not acknowledged) <= next (first not sent) <= tail
// Segments leave the head when the transport acknowledges them; only then may their memory change.
// Invariant: the ring and the segment table are fixed; when either is full the lane waits for acknowledgements.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Framing;

sealed unsafe class LaneQueue
{
    struct Segment
    {
        public byte* Data;
        public nuint Bytes;
        public int RingBytes;
        public Outgoing? Owner;
    }

    const int Segments = 2048;

    readonly Segment[] _segments = new Segment[Segments];
    readonly Action<Outgoing> _released;
    readonly int _ringBytes;
    byte* _ring;
    uint _head, _next, _tail;
    nuint _sentOfNext, _ackedOfHead;
    ulong _ringHead, _ringTail;

    public LaneQueue(int ringBytes, Action<Outgoing> released)
    {
        _released = released;
        _ringBytes = ringBytes;
        _ring = (byte*)NativeMemory.AlignedAlloc((nuint)ringBytes, 64);
    }

    public bool HasUnsent => _next != _tail;

    public bool HasUnacknowledged => _head != _next || _sentOfNext > _ackedOfHead;

    /// <summary>Room for one frame of <paramref name="bytes"/> bytes and one payload segment.</summary>
    public bool HasRoom(int bytes) => _tail - _head + 2 <= Segments && (ulong)(bytes + Padding(bytes)) <= (ulong)_ringBytes - (_ringTail - _ringHead);

    /// <summary>Memory for a frame at the end of the lane; the caller has asked <see cref="HasRoom"/>.</summary>
    public Span<byte> AddFrame(int bytes, Outgoing? owner)
    {
        int padding = Padding(bytes);
        byte* data = _ring + ((_ringTail + (ulong)padding) % (ulong)_ringBytes);
        _ringTail += (ulong)(padding + bytes);
        // frames of the control lane run together so that one packet can take many
        ref Segment last = ref _segments[(_tail - 1) % Segments];
        if (owner is null && _next != _tail && last.Owner is null && last.RingBytes > 0 && last.Data + last.Bytes == data)
        {
            last.Bytes += (nuint)bytes;
            last.RingBytes += bytes;
        }
        else
        {
            Add(data, (nuint)bytes, padding + bytes, owner);
        }
        return new Span<byte>(data, bytes);
    }

    public void AddPayload(byte* data, nuint bytes, Outgoing owner) => Add(data, bytes, 0, owner);

    /// <summary>The first bytes not sent, and whose payload they are, if they are payload.</summary>
    public nuint Peek(out byte* data, out Outgoing? payloadOf)
    {
        data = null;
        payloadOf = null;
        if (_next == _tail) return 0;
        ref Segment segment = ref _segments[_next % Segments];
        if (segment.RingBytes == 0) payloadOf = segment.Owner;
        data = segment.Data + _sentOfNext;
        return segment.Bytes - _sentOfNext;
    }

    public void Advance(nuint bytes)
    {
        _sentOfNext += bytes;
        if (_sentOfNext < _segments[_next % Segments].Bytes) return;
        if (_next == _tail || _sentOfNext > _segments[_next % Segments].Bytes) throw new InvalidOperationException("The transport took more than it was shown.");
        _sentOfNext = 0;
        _next++;
    }

    public void Acknowledged(nuint bytes)
    {
        _ackedOfHead += bytes;
        while (_head != _tail && _ackedOfHead >= _segments[_head % Segments].Bytes)
        {
            if (_head == _next) throw new InvalidOperationException("The transport acknowledged more than it took.");
            ref Segment segment = ref _segments[_head % Segments];
            _ackedOfHead -= segment.Bytes;
            _ringHead += (ulong)segment.RingBytes;
            Outgoing? owner = segment.Owner;
            segment = default;
            _head++;
            if (owner is not null) _released(owner);
        }
    }

    /// <summary>The connection is gone: nobody reads any segment any more.</summary>
    public void Release()
    {
        Array.Clear(_segments);
        (_head, _next, _tail, _sentOfNext, _ackedOfHead) = (0, 0, 0, 0, 0);
        NativeMemory.AlignedFree(_ring);
        _ring = null;
    }

    int Padding(int bytes)
    {
        int left = _ringBytes - (int)(_ringTail % (ulong)_ringBytes);
        return left < bytes ? left : 0;
    }

    void Add(byte* data, nuint bytes, int ringBytes, Outgoing? owner)
    {
        if (owner is not null) owner.Unacknowledged++;
        _segments[_tail++ % Segments] = new Segment { Data = data, Bytes = bytes, RingBytes = ringBytes, Owner = owner };
    }
}
