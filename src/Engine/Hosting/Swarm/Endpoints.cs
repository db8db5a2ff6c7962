// Opening this process's place on the network: what a person can mend is said as such.
using System.Net;
using System.Net.Sockets;
using OrionNative.Engine.Run;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;

namespace OrionNative.Engine.Hosting.Swarm;

static class Endpoints
{
    /// <summary>Binds the UDP port.</summary>
    /// <exception cref="ConfigurationException">The port is in use, or the address is not this machine's.</exception>
    public static QuicEndpoint Open(NodeIdentity identity, QuicOptions options)
    {
        try
        {
            return new QuicEndpoint(identity, options);
        }
        catch (IOException error)
        {
            throw new ConfigurationException($"listen '{options.Listen}': {error.Message} Name another address or port with --listen, or port 0 for a free one", error);
        }
    }

    /// <summary>The address of a host.</summary>
    /// <exception cref="ConfigurationException">The name is not known.</exception>
    public static IPEndPoint Resolve(string host, int port)
    {
        try
        {
            return new IPEndPoint(Dns.GetHostAddresses(host)[0], port);
        }
        catch (SocketException error)
        {
            throw new ConfigurationException($"the host '{host}' of the join string cannot be found: {error.Message}", error);
        }
    }
}
