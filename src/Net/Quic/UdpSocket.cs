// One UDP socket, read and written in batches. Out: up to 64 equal datagrams in one sendmsg (UDP_SEGMENT, GSO). In: the kernel
// joins datagrams of one sender (UDP_GRO) and says how long each was. Without them a 1452-byte datagram costs a system call
// of its own and throughput falls to a quarter (reference figures: 716 against 190 MB/s).
// Datagrams are never fragmented (PMTUDISC_PROBE): one that is too long for a link is dropped, which is what path MTU
// discovery looks for. Whether GSO and GRO work is decided here once, and once more if a device refuses GSO later.
// A host whose port nobody holds answers with ICMP; the kernel queues that with the address it is about (IP_RECVERR), which
// is the fastest honest sign that a peer's process is gone. Whoever asks for it must read the queue, or ppoll never waits.
using System.Net;
using System.Runtime.InteropServices;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Quic;

sealed unsafe class UdpSocket : IDisposable
{
    /// <summary>The most payload bytes of one sendmsg, GSO or not: 65535 less the IPv4 and UDP headers.</summary>
    public const int BatchBytesMax = 65507;

    /// <summary>The most datagrams of one sendmsg (UDP_MAX_SEGMENTS).</summary>
    public const int BatchSegmentsMax = 64;

    const int ReceiveBytes = 65536;
    const int SocketBufferBytes = 8 << 20;
    const int ControlBytes = 128, SegmentControlBytes = 24;

    readonly int _fd;
    readonly int _family;
    readonly byte* _receiveBuffer;
    readonly Libc.msghdr* _message;
    readonly Libc.iovec* _vector;
    readonly byte* _control;
    readonly SocketAddress* _peer;
    readonly Action<string>? _log;
    readonly bool _hearsRefusals;

    public UdpSocket(IPEndPoint listen, bool segmentOffload, Action<string>? log, bool hearsRefusals = false)
    {
        (_log, _hearsRefusals) = (log, hearsRefusals);
        _family = listen.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? Libc.AF_INET6 : Libc.AF_INET;
        _fd = Libc.socket(_family, Libc.SOCK_DGRAM | Libc.SOCK_NONBLOCK | Libc.SOCK_CLOEXEC, 0);
        if (_fd < 0) throw Failure($"opening a UDP socket for {listen}", Marshal.GetLastPInvokeError());
        if (_family == Libc.AF_INET6) Set(Libc.SOL_IPV6, Libc.IPV6_V6ONLY, 0);
        Set(Libc.SOL_IP, Libc.IP_MTU_DISCOVER, Libc.PMTUDISC_PROBE);
        if (_family == Libc.AF_INET6) Set(Libc.SOL_IPV6, Libc.IPV6_MTU_DISCOVER, Libc.PMTUDISC_PROBE);
        if (hearsRefusals)
        {
            Set(Libc.SOL_IP, Libc.IP_RECVERR, 1);
            if (_family == Libc.AF_INET6) Set(Libc.SOL_IPV6, Libc.IPV6_RECVERR, 1);
        }
        GrowBuffer("receive", Libc.SO_RCVBUFFORCE, Libc.SO_RCVBUF, "net.core.rmem_max");
        GrowBuffer("send", Libc.SO_SNDBUFFORCE, Libc.SO_SNDBUF, "net.core.wmem_max");
        var address = SocketAddress.Of(listen, _family);
        if (Libc.bind(_fd, address.Data, address.Length) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            _ = Libc.close(_fd);
            throw Failure($"binding UDP {listen}", error, error == Libc.EADDRINUSE
                ? "end what holds the port (`ss -lunp` shows it) or choose another; port 0 takes a free one"
                : "choose an address of this machine (`ip address` shows them), or 0.0.0.0 for all");
        }
        uint length = SocketAddress.BytesMax;
        _ = Libc.getsockname(_fd, address.Data, &length);
        address.Length = length;
        Address = address;
        CanSegment = segmentOffload && Set(Libc.SOL_UDP, Libc.UDP_SEGMENT, 0);
        CanCoalesce = segmentOffload && Set(Libc.SOL_UDP, Libc.UDP_GRO, 1);
        if (segmentOffload && !(CanSegment && CanCoalesce)) _log?.Invoke($"quic {listen}: the kernel lacks UDP {(CanSegment ? "GRO" : "GSO")}; every datagram costs a system call");
        _receiveBuffer = (byte*)NativeMemory.AlignedAlloc(ReceiveBytes, 64);
        _message = (Libc.msghdr*)NativeMemory.AllocZeroed((nuint)sizeof(Libc.msghdr));
        _vector = (Libc.iovec*)NativeMemory.AllocZeroed((nuint)sizeof(Libc.iovec));
        _control = (byte*)NativeMemory.AllocZeroed(ControlBytes);
        _peer = (SocketAddress*)NativeMemory.AllocZeroed((nuint)sizeof(SocketAddress));
    }

    public int Descriptor => _fd;

    public int Family => _family;

    /// <summary>The bound address, with its real port.</summary>
    public SocketAddress Address { get; }

    /// <summary>One sendmsg may carry many datagrams.</summary>
    public bool CanSegment { get; private set; }

    public bool CanCoalesce { get; }

    /// <summary>The kernel reported an error of an earlier datagram: <see cref="TryReadRefusal"/> tells whose.</summary>
    public bool HasErrors { get; set; }

    /// <summary>Why the last datagrams were not sent and count as lost (errno); 0 if they were.</summary>
    public int SendError { get; private set; }

    /// <summary>Where the last <see cref="Receive"/> came from.</summary>
    public ref readonly SocketAddress Peer => ref *_peer;

    /// <summary>Reads one batch: <paramref name="bytes"/> in datagrams of <paramref name="segment"/> bytes, the last perhaps
    /// shorter. False when nothing waits. The memory is reused by the next call.</summary>
    public bool Receive(out byte* data, out int bytes, out int segment)
    {
        data = _receiveBuffer;
        OpenEnvelope();
        bytes = (int)Libc.recvmsg(_fd, _message, Libc.MSG_DONTWAIT);
        segment = bytes;
        if (bytes < 0)
        {
            // anything but "nothing waits" belongs to an earlier datagram (ICMP); the next call goes on
            HasErrors |= _hearsRefusals && Marshal.GetLastPInvokeError() is not (Libc.EAGAIN or Libc.EINTR);
            return false;
        }
        _peer->Length = _message->msg_namelen;
        if (_message->msg_controllen >= 20 && *(int*)(_control + 8) == Libc.SOL_UDP && *(int*)(_control + 12) == Libc.UDP_GRO) segment = *(int*)(_control + 16);
        return true;
    }

    // the kernel writes into all of it, so every read starts from a fresh one
    void OpenEnvelope()
    {
        _vector->iov_base = _receiveBuffer;
        _vector->iov_len = ReceiveBytes;
        *_message = new Libc.msghdr
        {
            msg_name = _peer->Data,
            msg_namelen = SocketAddress.BytesMax,
            msg_iov = _vector,
            msg_iovlen = 1,
            msg_control = _control,
            msg_controllen = ControlBytes,
        };
    }

    /// <summary>The next address whose host says that nobody holds the port; false when no more errors wait. Others (no route,
    /// too long) are losses like any other and are passed over.</summary>
    public bool TryReadRefusal(out SocketAddress peer)
    {
        peer = default;
        while (true)
        {
            OpenEnvelope();
            if (Libc.recvmsg(_fd, _message, Libc.MSG_DONTWAIT | Libc.MSG_ERRQUEUE) < 0)
            {
                HasErrors = false;
                return false;
            }
            // a control message: length (8), level (4), type (4), then struct sock_extended_err, whose first field is the errno
            (int level, int type, int error) = (*(int*)(_control + 8), *(int*)(_control + 12), *(int*)(_control + 16));
            bool isExtended = _message->msg_controllen >= 32 && (level, type) is (Libc.SOL_IP, Libc.IP_RECVERR) or (Libc.SOL_IPV6, Libc.IPV6_RECVERR);
            if (!isExtended || error != Libc.ECONNREFUSED || _message->msg_namelen == 0) continue;
            peer = *_peer;
            peer.Length = _message->msg_namelen;
            return true;
        }
    }

    /// <summary>Sends datagrams of <paramref name="segment"/> bytes, the last perhaps shorter. False when the kernel's buffer
    /// is full: the same call must be made again when the socket is writable. Datagrams that cannot be sent count as lost.</summary>
    public bool Send(byte* data, int bytes, int segment, in SocketAddress peer)
    {
        fixed (SocketAddress* to = &peer)
        {
            if (CanSegment || bytes <= segment) return SendOnce(data, bytes, segment, to);
            bool all = true;
            for (int sent = 0; sent < bytes; sent += segment) all &= SendOnce(data + sent, Math.Min(segment, bytes - sent), segment, to);
            return all;
        }
    }

    bool SendOnce(byte* data, int bytes, int segment, SocketAddress* to)
    {
        _vector->iov_base = data;
        _vector->iov_len = (nuint)bytes;
        *_message = new Libc.msghdr { msg_name = to->Data, msg_namelen = to->Length, msg_iov = _vector, msg_iovlen = 1 };
        if (bytes > segment)
        {
            *(nuint*)_control = 18;
            *(int*)(_control + 8) = Libc.SOL_UDP;
            *(int*)(_control + 12) = Libc.UDP_SEGMENT;
            *(ushort*)(_control + 16) = (ushort)segment;
            _message->msg_control = _control;
            _message->msg_controllen = SegmentControlBytes;
        }
        bool heardRefusal = false;
        while (Libc.sendmsg(_fd, _message, Libc.MSG_DONTWAIT) < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error == Libc.EINTR) continue;
            if (error == Libc.ECONNREFUSED && !heardRefusal)
            {
                // of an earlier datagram, perhaps to somebody else; the kernel has told it now, these have not been sent
                HasErrors |= _hearsRefusals;
                heardRefusal = true;
                continue;
            }
            if (error is Libc.EAGAIN or Libc.ENOBUFS) return false;
            if (error is Libc.EIO or Libc.EINVAL && bytes > segment && CanSegment)
            {
                CanSegment = false;
                _log?.Invoke($"quic {Address.ToEndPoint()}: the device refused GSO (errno {error}); every datagram costs a system call from now on");
                return Send(data, bytes, segment, *to);
            }
            // EMSGSIZE: a path MTU probe that this host already knows to be too long. Others: no route now. Both are losses.
            SendError = error;
            return true;
        }
        SendError = 0;
        return true;
    }

    bool Set(int level, int option, int value) => Libc.setsockopt(_fd, level, option, &value, sizeof(int)) == 0;

    // Linux doubles the value it is given and returns the doubled one. A small receive buffer loses datagrams in bursts.
    void GrowBuffer(string name, int force, int usual, string limit)
    {
        if (Set(Libc.SOL_SOCKET, force, SocketBufferBytes)) return;
        Set(Libc.SOL_SOCKET, usual, SocketBufferBytes);
        int got;
        uint length = sizeof(int);
        _ = Libc.getsockopt(_fd, Libc.SOL_SOCKET, usual, &got, &length);
        if (got < 2 * SocketBufferBytes) _log?.Invoke($"quic: the UDP {name} buffer is {got / 2048} KiB instead of {SocketBufferBytes >> 10} KiB; fast links may lose datagrams. Fix: sysctl -w {limit}={SocketBufferBytes}");
    }

    static IOException Failure(string what, int error, string? fix = null) =>
        new($"QUIC: {what} failed: {Marshal.GetPInvokeErrorMessage(error)} (errno {error}).{(fix is null ? "" : $" Fix: {fix}.")}");

    public void Dispose()
    {
        _ = Libc.close(_fd);
        NativeMemory.AlignedFree(_receiveBuffer);
        NativeMemory.Free(_message);
        NativeMemory.Free(_vector);
        NativeMemory.Free(_control);
        NativeMemory.Free(_peer);
    }
}
