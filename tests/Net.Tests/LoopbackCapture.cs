// Everything that crosses this machine's interfaces, as a packet capture sees it (AF_PACKET). Needs root.
using System.Collections.Concurrent;
using System.Net.Sockets;

namespace OrionNative.Net.Tests;

sealed class LoopbackCapture : IDisposable
{
    const short AllProtocols = 0x0300; // ETH_P_ALL in network order

    readonly Socket _socket = new(AddressFamily.Packet, SocketType.Raw, (ProtocolType)AllProtocols) { ReceiveBufferSize = 64 << 20, ReceiveTimeout = 100 };
    readonly ConcurrentQueue<byte[]> _frames = new();
    readonly Thread _thread;
    volatile bool _stopping;

    public LoopbackCapture()
    {
        _thread = new Thread(Run) { IsBackground = true };
        _thread.Start();
    }

    /// <summary>Why there can be no capture here; null if there can.</summary>
    public static string? NotSupportedReason() => Environment.UserName == "root" ? null : "a packet capture needs root. Fix: run this test as root";

    /// <summary>Frames that name a port as source or destination of IPv4 UDP or TCP, less their link header.</summary>
    public List<byte[]> OfPort(int port) => [.. _frames.Where(frame => IsOf(frame, port))];

    public static bool Contains(IEnumerable<byte[]> frames, ReadOnlySpan<byte> what)
    {
        foreach (byte[] frame in frames)
            if (frame.AsSpan().IndexOf(what) >= 0) return true;
        return false;
    }

    static bool IsOf(byte[] frame, int port)
    {
        const int Link = 14;
        if (frame.Length < Link + 24 || frame[Link] >> 4 != 4) return false;
        int ports = Link + (4 * (frame[Link] & 15));
        return frame.Length >= ports + 4 && ((frame[ports] << 8 | frame[ports + 1]) == port || (frame[ports + 2] << 8 | frame[ports + 3]) == port);
    }

    void Run()
    {
        byte[] buffer = new byte[1 << 17];
        while (!_stopping)
        {
            try
            {
                int bytes = _socket.Receive(buffer);
                _frames.Enqueue(buffer[..bytes]);
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.TimedOut or SocketError.WouldBlock)
            {
                // nothing crossed for a moment; look whether to stop
            }
        }
    }

    public void Dispose()
    {
        _stopping = true;
        _thread.Join();
        _socket.Dispose();
    }
}
