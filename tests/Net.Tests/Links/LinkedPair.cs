// Two endpoints of either transport on this machine, one link between them, directly or through a relay. The test's thread
// plays the layers above.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;
using OrionNative.Net.Tls;

namespace OrionNative.Net.Tests.Links;

sealed class LinkedPair : IDisposable
{
    public static readonly UInt128 Run = 42;

    readonly NodeIdentity _a = NodeIdentity.Create(), _b = NodeIdentity.Create();
    readonly ITransportEndpoint _endpointA, _endpointB;
    readonly LinkOptions _options;

    public LinkedPair(TransportKind kind, CheckingHandler handlerA, CheckingHandler handlerB, Func<IPEndPoint, IPEndPoint>? through = null, TimeSpan? patience = null, TlsOptions? tls = null, IPAddress? at = null)
    {
        at ??= IPAddress.Loopback;
        (HandlerA, HandlerB) = (handlerA, handlerB);
        _options = new LinkOptions { Run = Run, Window = new DuplicateWindow(), Patience = patience ?? TimeSpan.FromSeconds(20) };
        LinkA = new PeerLink(_options with { Window = new DuplicateWindow() }, handlerA);
        LinkB = new PeerLink(_options, handlerB);
        _endpointA = Endpoint(kind, _a, null, Log, tls, at);
        _endpointB = Endpoint(kind, _b, connection => connection.RemoteNodeId == _a.Id ? Admission.Accept(LinkB) : Admission.Refuse("a stranger"), Log, tls, at);
        Address = new IPEndPoint(at, _endpointB.LocalAddress.Port);
        _endpointA.Dial(through?.Invoke(Address) ?? Address, _b.Id, LinkA);
    }

    public CheckingHandler HandlerA { get; }

    public CheckingHandler HandlerB { get; }

    public List<string> Lines { get; } = [];

    public IPEndPoint Address { get; }

    public PeerLink LinkA { get; }

    public PeerLink LinkB { get; }

    public ITransportEndpoint EndpointA => _endpointA;

    public ITransportEndpoint EndpointB => _endpointB;

    public static void SkipWithout(TransportKind kind)
    {
        if (kind == TransportKind.Quic && QuicLibrary.NotSupportedReason is { } reason) Assert.Skip(reason);
    }

    public static ITransportEndpoint Endpoint(TransportKind kind, NodeIdentity identity, Admit? admit, Action<string> log, TlsOptions? tls = null, IPAddress? at = null)
    {
        var listen = new IPEndPoint(at ?? IPAddress.Loopback, 0);
        return kind == TransportKind.Quic
            ? new QuicEndpoint(identity, new QuicOptions { Listen = listen, Admit = admit, Log = log })
            : new TlsEndpoint(identity, (tls ?? new TlsOptions()) with { Listen = listen, Admit = admit, Log = log });
    }

    void Log(string line)
    {
        lock (Lines) Lines.Add(line);
    }

    public void Dispose()
    {
        _endpointA.Dispose();
        _endpointB.Dispose();
        _a.Dispose();
        _b.Dispose();
    }
}
