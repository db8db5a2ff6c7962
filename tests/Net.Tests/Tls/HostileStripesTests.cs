// A peer with a valid key that breaks the rules of the TCP transport, and strangers who break off: the offender is cut off and
// named, memory stays bounded, and a link of somebody else goes on.
using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Tests.Links;
using OrionNative.Net.Tls;

namespace OrionNative.Net.Tests.Tls;

public sealed class HostileStripesTests : IDisposable
{
    static readonly TimeSpan _soon = TimeSpan.FromSeconds(10);

    readonly NodeIdentity _server = NodeIdentity.Create(), _attacker = NodeIdentity.Create();
    readonly List<string> _lines = [];
    readonly TlsEndpoint _endpoint;

    public HostileStripesTests() => _endpoint = new TlsEndpoint(_server, new TlsOptions
    {
        Listen = new IPEndPoint(IPAddress.Loopback, 0),
        HandshakeTimeout = TimeSpan.FromSeconds(2),
        Admit = static _ => Admission.Accept(NewLink(new CheckingHandler())),
        Log = line =>
        {
            lock (_lines) _lines.Add(line);
        },
    });

    public void Dispose()
    {
        _endpoint.Dispose();
        _server.Dispose();
        _attacker.Dispose();
    }

    public static TheoryData<string, byte[], string> Violations => new()
    {
        { "unknown frame", Frame(9, 0, 0, 0), "type 9" },
        { "an overtaken ack is none, what follows is", [.. Frame(2, 1, 0, 0), .. Frame(8, 0, 0, 0)], "type 8" },
        { "unknown lane", Frame(1, 7, 10, 0), "lane 7" },
        { "oversized body", Frame(1, 1, 1 << 20, 0), "claims 1048576" },
        { "negative body", Frame(1, 1, -1, 0), "claims -1" },
        { "ack of bytes never sent", Frame(2, 2, 0, 1000), "names byte 1000" },
        { "chunk twice", [.. Frame(1, 1, 4, 8), 1, 2, 3, 4, .. Frame(1, 1, 4, 8), 1, 2, 3, 4], "came again" },
        { "message without a slot", [.. Frame(1, 1, 16, 0), 2, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "names slot 5" },
        { "control before Hello", [.. Frame(1, 0, 32, 0), 6, .. new byte[31]], "before Hello" },
    };

    [Theory, MemberData(nameof(Violations))]
    public async Task RuleBroken_OffenderIsCutOffAndNamed(string what, byte[] bytes, string expected)
    {
        using SslStream stream = await OpenAsync();
        await stream.WriteAsync(bytes);
        await DrainAsync(stream);
        string line = await LineAsync(expected);
        Assert.True(line.Contains(_attacker.Id.Short), $"{what}: the line does not name the offender: {line}");
        await GoodPeerIsServedAsync();
    }

    [Fact]
    public async Task EndlessEarlyChunks_AreBounded()
    {
        using SslStream stream = await OpenAsync();
        byte[] chunks = new byte[2000 * (TlsFrame.Bytes + 1)];
        for (int i = 0; i < 2000; i++) Frame(1, 1, 1, (ulong)(100 + (2 * i))).CopyTo(chunks, i * (TlsFrame.Bytes + 1)); // never the first byte
        try
        {
            await stream.WriteAsync(chunks);
        }
        catch (IOException)
        {
            // cut off while still sending
        }
        await LineAsync("chunks came ahead of what was acknowledged");
        await GoodPeerIsServedAsync();
    }

    [Fact]
    public void MoreFramesThanAnHonestPeerCanHaveSent_BeforeTheLoopHandledAny_AreRefused()
    {
        var connection = new TlsConnection(_endpoint, 1, isDialler: false, new IPEndPoint(IPAddress.Loopback, 1), _attacker.Id);
        var alive = new TlsFrame(TlsFrameType.Alive, 0, 0, 0, 0);
        for (int i = 0; i < 4 * TlsConnection.ChunksMax; i++) connection.Expect(alive);
        Assert.Throws<InvalidDataException>(() => connection.Expect(alive));
    }

    [Fact]
    public async Task PrefaceIsGarbage_StripeIsClosed()
    {
        using SslStream stream = await HandshakeAsync();
        await stream.WriteAsync(new byte[StripePreface.Bytes]);
        await DrainAsync(stream);
        await LineAsync("something else than its preface");
        await GoodPeerIsServedAsync();
    }

    [Fact]
    public async Task WrongServer_IsRefusedByTheDialler()
    {
        var handler = new CheckingHandler();
        using TlsEndpoint dialler = new(_attacker, new TlsOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0) });
        dialler.Dial(_endpoint.LocalAddress, _attacker.Id, NewLink(handler));
        CloseReason reason = await handler.Closed.WaitAsync(_soon);
        Assert.Equal(CloseKind.Refused, reason.Kind);
        Assert.Contains("expected", reason.Text);
    }

    [Theory]
    [InlineData("expired", "valid from")]
    [InlineData("future", "valid from")]
    [InlineData("rsa", "P-256")]
    [InlineData("p384", "P-256")]
    [InlineData("issued", "issued to itself")]
    public async Task Certificate_OfTheWrongKind_FailsOnBothSides(string kind, string why)
    {
        using NodeIdentity bad = QuicIdentityTests.BadIdentity(kind);
        // once shown by the dialler
        CheckingHandler handler = new();
        using (TlsEndpoint dialler = new(bad, new TlsOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0) }))
        {
            dialler.Dial(_endpoint.LocalAddress, _server.Id, NewLink(handler));
            CloseReason seen = await handler.Closed.WaitAsync(_soon);
            Assert.False(handler.Opened.IsCompleted, seen.Text);
            await LineAsync(why);
        }
        // once by the acceptor
        bool admitted = false;
        using TlsEndpoint acceptor = new(bad, new TlsOptions
        {
            Listen = new IPEndPoint(IPAddress.Loopback, 0),
            Admit = _ =>
            {
                admitted = true;
                return Admission.Accept(NewLink(new CheckingHandler()));
            },
        });
        using TlsEndpoint honest = new(_attacker, new TlsOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0) });
        handler = new CheckingHandler();
        honest.Dial(acceptor.LocalAddress, bad.Id, NewLink(handler));
        CloseReason reason = await handler.Closed.WaitAsync(_soon);
        Assert.Equal(CloseKind.Refused, reason.Kind);
        Assert.Contains(why, reason.Text);
        Assert.False(admitted);
        await GoodPeerIsServedAsync();
    }

    [Fact]
    public async Task NoCertificateShown_IsTurnedAway()
    {
        using var client = new TcpClient();
        await client.ConnectAsync(_endpoint.LocalAddress);
        using var stream = new SslStream(client.GetStream(), false, (_, certificate, _, _) => _server.Certificate.Equals(certificate));
        await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = "orion", ApplicationProtocols = [new SslApplicationProtocol("orion/1")] });
        await DrainAsync(stream); // TLS 1.3: the client hears of it after its own handshake
        await LineAsync("showed no certificate");
        await GoodPeerIsServedAsync();
    }

    [Fact]
    public async Task Certificate_SwappedForAnotherNodes_FailsOnBothSides()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using NodeIdentity thief = NodeIdentity.Of(key, X509CertificateLoader.LoadCertificate(_attacker.Certificate.RawData));
        Assert.Equal(_attacker.Id, thief.Id);
        CheckingHandler handler = new();
        using (TlsEndpoint dialler = new(thief, new TlsOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0) }))
        {
            dialler.Dial(_endpoint.LocalAddress, _server.Id, NewLink(handler));
            await handler.Closed.WaitAsync(_soon);
        }
        Assert.False(handler.Opened.IsCompleted);
        await LineAsync("a handshake from");
        await GoodPeerIsServedAsync();
        lock (_lines) Assert.DoesNotContain(_lines, line => line.Contains(thief.Id.Short));
    }

    static PeerLink NewLink(ILinkHandler handler) => new(new LinkOptions { Run = LinkedPair.Run, Window = new DuplicateWindow() }, handler);

    static byte[] Frame(byte type, byte lane, int bodyBytes, ulong value)
    {
        byte[] wire = new byte[TlsFrame.Bytes];
        (wire[0], wire[1]) = (type, lane);
        BinaryPrimitives.WriteInt32LittleEndian(wire.AsSpan(4), bodyBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(wire.AsSpan(8), value);
        return wire;
    }

    async Task<SslStream> HandshakeAsync()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(_endpoint.LocalAddress);
        (SslStream stream, _) = await TlsHandshake.DialAsync(socket, _attacker, _server.Id, CancellationToken.None);
        return stream;
    }

    async Task<SslStream> OpenAsync()
    {
        SslStream stream = await HandshakeAsync();
        byte[] preface = new byte[StripePreface.Bytes];
        new StripePreface(7, 0, 1).Encode(preface);
        await stream.WriteAsync(preface);
        return stream;
    }

    static async Task DrainAsync(SslStream stream)
    {
        try
        {
            byte[] buffer = new byte[4096];
            while (await stream.ReadAsync(buffer).AsTask().WaitAsync(_soon) > 0) { }
        }
        catch (IOException)
        {
            // a reset is an end as well
        }
    }

    async Task<string> LineAsync(string part)
    {
        for (int i = 0; i < 500; i++)
        {
            lock (_lines)
                if (_lines.Find(line => line.Contains(part)) is { } found) return found;
            await Task.Delay(10);
        }
        throw new TimeoutException($"no line says '{part}'; there are:\n{string.Join('\n', _lines)}");
    }

    async Task GoodPeerIsServedAsync()
    {
        using var good = NodeIdentity.Create();
        var handler = new CheckingHandler();
        using TlsEndpoint dialler = new(good, new TlsOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0) });
        PeerLink link = NewLink(handler);
        dialler.Dial(_endpoint.LocalAddress, _server.Id, link);
        await handler.Opened.WaitAsync(_soon);
        Response response = await link.RequestAsync(new byte[] { 5 }, _soon);
        Assert.Equal([5], response.Body);
    }
}
