// Opening this process's place on the network: what a person can mend is said as such.
using System.Net;
using System.Net.Sockets;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;
using OrionNative.Net.Tls;

namespace OrionNative.Engine.Hosting.Swarm;

static class Endpoints
{
    /// <summary>Binds the port of the run's transport, UDP or TCP.</summary>
    /// <exception cref="ConfigurationException">The port is in use, or the address is not this machine's.</exception>
    /// <exception cref="PlatformNotSupportedException">QUIC's library is missing; the message says how to get it, or to do without.</exception>
    public static ITransportEndpoint Open(NodeIdentity identity, TransportKind kind, TransportOptions options)
    {
        try
        {
            return kind == TransportKind.Quic ? new QuicEndpoint(identity, new QuicOptions(options)) : new TlsEndpoint(identity, new TlsOptions(options));
        }
        catch (PlatformNotSupportedException missing) when (kind == TransportKind.Quic)
        {
            throw new PlatformNotSupportedException($"{missing.Message} A run without QUIC: --transport tcp.", missing);
        }
        catch (IOException error)
        {
            throw new ConfigurationException($"listen '{options.Listen}': {error.Message} Name another address or port with --listen, or port 0 for a free one", error);
        }
    }

    /// <summary>The transport of a run.</summary>
    public static TransportKind Kind(PeerTransport transport) => transport == PeerTransport.Quic ? TransportKind.Quic : TransportKind.Tcp;

    /// <summary>The first address of a host that a socket at <paramref name="listen"/> reaches: one for IPv6 reaches both kinds.</summary>
    /// <exception cref="ConfigurationException">The name is not known, or has no such address.</exception>
    public static IPEndPoint Resolve(string host, int port, IPEndPoint listen)
    {
        try
        {
            IPAddress[] known = Dns.GetHostAddresses(host);
            IPAddress? address = Array.Find(known, address => listen.AddressFamily == AddressFamily.InterNetworkV6 || address.AddressFamily == AddressFamily.InterNetwork);
            return address is not null ? new IPEndPoint(address, port)
                : throw new ConfigurationException($"the host '{host}' of the join string has IPv6 addresses only ({string.Join(", ", known.AsEnumerable())}), which {listen} does not reach; join with --listen [::]:{listen.Port}");
        }
        catch (SocketException error)
        {
            throw new ConfigurationException($"the host '{host}' of the join string cannot be found: {error.Message}. Check the name, and this machine's DNS", error);
        }
    }

    /// <summary>Where others dial a peer: what it says, with the address that it was seen at if it says only a port of any
    /// address (0.0.0.0 or [::]). False if that is no place to dial.</summary>
    public static bool TryAdvertise(string said, IPAddress seen, out string address)
    {
        address = "";
        if (!IPEndPoint.TryParse(said, out IPEndPoint? place) || place.Port == 0)
        {
            return false;
        }

        bool isAny = place.Address.Equals(IPAddress.Any) || place.Address.Equals(IPAddress.IPv6Any);
        address = new IPEndPoint(isAny ? seen : place.Address, place.Port).ToString();
        return true;
    }
}
