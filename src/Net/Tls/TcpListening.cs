// A listening TCP socket, or the sentence that says why there is none.
using System.Net;
using System.Net.Sockets;

namespace OrionNative.Net.Tls;

static class TcpListening
{
    /// <summary>Binds and listens. An IPv6 address takes IPv4 too. Throws <see cref="IOException"/>, which names the address.</summary>
    public static Socket At(IPEndPoint address, int backlog)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (address.AddressFamily == AddressFamily.InterNetworkV6) socket.DualMode = true;
            socket.Bind(address);
            socket.Listen(backlog);
            return socket;
        }
        catch (SocketException error)
        {
            socket.Dispose();
            string fix = error.SocketErrorCode == SocketError.AddressAlreadyInUse ? "end what holds the port (`ss -ltnp` shows it) or choose another; port 0 takes a free one" : "choose an address of this machine (`ip address` shows them), or 0.0.0.0 for all";
            throw new IOException($"TCP: binding {address} failed: {error.Message}. Fix: {fix}.", error);
        }
    }
}
