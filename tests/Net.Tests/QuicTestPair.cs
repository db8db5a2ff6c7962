// Two endpoints of one process on loopback, for the QUIC tests: a listening one and a dialling one, with a user on each side.
using System.Collections.Concurrent;
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;

namespace OrionNative.Net.Tests;

sealed class QuicPair : IDisposable
{
    public QuicPair(QuicOptions? server = null, QuicOptions? client = null, IPAddress? address = null, NodeIdentity? serverIdentity = null, NodeIdentity? clientIdentity = null)
    {
        if (!QuicLibrary.IsSupported) Assert.Skip(QuicLibrary.NotSupportedReason!);
        ServerIdentity = serverIdentity ?? NodeIdentity.Create();
        ClientIdentity = clientIdentity ?? NodeIdentity.Create();
        var listen = new IPEndPoint(address ?? IPAddress.Loopback, 0);
        Server = new QuicEndpoint(ServerIdentity, (server ?? new QuicOptions()) with { Listen = listen, Admit = server?.Admit ?? (_ => Admission.Accept(ServerUser)), Log = Log.Enqueue });
        Client = new QuicEndpoint(ClientIdentity, (client ?? new QuicOptions()) with { Listen = listen, Log = Log.Enqueue });
    }

    public NodeIdentity ServerIdentity { get; }

    public NodeIdentity ClientIdentity { get; }

    public QuicEndpoint Server { get; }

    public QuicEndpoint Client { get; }

    public QuicTestUser ServerUser { get; } = new();

    public QuicTestUser ClientUser { get; } = new();

    public ConcurrentQueue<string> Log { get; } = new();

    public string LogText => string.Join('\n', Log);

    public void Connect(IPEndPoint? through = null)
    {
        Client.Dial(through ?? Server.LocalAddress, Server.LocalNodeId, ClientUser);
        Assert.True(ClientUser.WaitOpen() && ServerUser.WaitOpen(), $"no connection; log:\n{LogText}");
    }

    public void Dispose()
    {
        Client.Dispose();
        Server.Dispose();
        ServerUser.Dispose();
        ClientUser.Dispose();
        ServerIdentity.Dispose();
        ClientIdentity.Dispose();
    }
}
