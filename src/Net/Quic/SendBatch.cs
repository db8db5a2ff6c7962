// Packets of one connection on their way to one sendmsg. GSO carries equal packets, of which only the last may be shorter, to
// one address; a packet that does not fit that rule sends what came before and starts the next batch.
// When the kernel's buffer is full, the batch is kept and nothing else may be written until it has gone.
using System.Runtime.InteropServices;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Quic;

sealed unsafe class SendBatch : IDisposable
{
    /// <summary>The longest packet that is ever written here: path MTU probes included.</summary>
    public const int PacketBytesMax = UdpSocket.BatchBytesMax;

    // Room for a full batch and one longest packet behind it.
    readonly byte* _buffer = (byte*)NativeMemory.AlignedAlloc(2 * UdpSocket.BatchBytesMax, 64);
    readonly PathStorage* _path = (PathStorage*)NativeMemory.AllocZeroed((nuint)sizeof(PathStorage));
    UdpSocket _socket;
    SocketAddress _to;
    int _bytes, _segment, _count;
    bool _isShort;

    struct PathStorage
    {
        public Ngtcp2.ngtcp2_path Path;
        public SocketAddress Local, Remote;
    }

    public SendBatch(UdpSocket socket)
    {
        _socket = socket;
        _path->Path.local.addr = _path->Local.Data;
        _path->Path.remote.addr = _path->Remote.Data;
    }

    /// <summary>Where ngtcp2 writes the path of the packet that it wrote to <see cref="Tail"/>.</summary>
    public Ngtcp2.ngtcp2_path* Path => &_path->Path;

    /// <summary>Where the next packet is written: <see cref="PacketBytesMax"/> bytes.</summary>
    public byte* Tail => _buffer + _bytes;

    /// <summary>The kernel's buffer is full; wait until the socket is writable, then <see cref="Flush"/>.</summary>
    public bool IsStuck { get; private set; }

    /// <summary>Sends from another socket from now on; what was stuck on the old one is lost, as datagrams may be.</summary>
    public void UseSocket(UdpSocket socket)
    {
        _socket = socket;
        IsStuck = false;
        _bytes = _segment = _count = 0;
    }

    /// <summary>Adds the packet of <paramref name="bytes"/> bytes that stands at <see cref="Tail"/>. If that needs a flush and
    /// the kernel's buffer is full, the packet counts as lost.</summary>
    public void Add(int bytes)
    {
        _path->Remote.Length = _path->Path.remote.addrlen;
        bool fits = _count == 0 || (!_isShort && bytes <= _segment && _bytes + bytes <= UdpSocket.BatchBytesMax && _path->Remote.SameAs(_to));
        if (!fits)
        {
            byte* packet = Tail;
            Flush();
            if (IsStuck) return;
            Buffer.MemoryCopy(packet, Tail, bytes, bytes);
        }
        if (_count == 0)
        {
            _segment = bytes;
            _to = _path->Remote;
            _isShort = false;
        }
        else _isShort = bytes < _segment;
        _bytes += bytes;
        // full: the other side may begin with it while the next one is written
        if (++_count == UdpSocket.BatchSegmentsMax || _bytes + _segment > UdpSocket.BatchBytesMax) Flush();
    }

    /// <summary>Sends what there is.</summary>
    public void Flush()
    {
        if (_bytes == 0) return;
        IsStuck = !_socket.Send(_buffer, _bytes, _segment, _to);
        if (!IsStuck) _bytes = _count = 0;
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_buffer);
        NativeMemory.Free(_path);
    }
}
