// Who is let in over QUIC: every way of being the wrong peer fails on both sides, before a lane byte is delivered, with a
// sentence for the operator of the side that refused and the same dull close for everybody on the wire.
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;

namespace OrionNative.Net.Tests;

public class QuicIdentityTests
{
    static readonly DateTimeOffset _year = new(2024, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void Dialler_AnotherNodeAnswers_BothSidesFail()
    {
        using var pair = new QuicPair();
        using var stranger = NodeIdentity.Create();
        pair.ClientUser.Offer(Lane.Forward, 1000);
        pair.Client.Dial(pair.Server.LocalAddress, stranger.Id, pair.ClientUser);
        Assert.True(pair.ClientUser.WaitClosed());
        Assert.Equal(CloseKind.Refused, pair.ClientUser.Reason!.Kind);
        Assert.Contains(pair.Server.LocalNodeId.ToString(), pair.ClientUser.Reason.Text, StringComparison.Ordinal);
        Assert.Null(pair.ClientUser.Connection);
        AssertServerUntouched(pair);
    }

    [Fact]
    public void Acceptor_UnknownDialler_BothSidesFailAndTheReasonStaysLocal()
    {
        const string Secret = "not in placement epoch 12";
        using var pair = new QuicPair(new QuicOptions { Admit = _ => Admission.Refuse(Secret) });
        pair.ClientUser.Offer(Lane.Forward, 1000);
        pair.Client.Dial(pair.Server.LocalAddress, pair.Server.LocalNodeId, pair.ClientUser);
        Assert.True(pair.ClientUser.WaitClosed());
        Assert.Equal(CloseKind.Refused, pair.ClientUser.Reason!.Kind);
        Assert.DoesNotContain(Secret, pair.ClientUser.Reason.Text, StringComparison.Ordinal);
        Assert.True(pair.ClientUser.Wait(() => pair.LogText.Contains(Secret, StringComparison.Ordinal)), pair.LogText);
        AssertServerUntouched(pair);
    }

    [Fact]
    public void Acceptor_DiallerShowsNoCertificate_BothSidesFail()
    {
        using var pair = new QuicPair(client: new QuicOptions { IsAnonymous = true });
        AssertRefused(pair, "TLS failed");
    }

    [Fact]
    public void Dialler_AcceptorShowsNoCertificate_BothSidesFail()
    {
        using var pair = new QuicPair(server: new QuicOptions { IsAnonymous = true });
        AssertRefused(pair, "TLS");
    }

    [Fact]
    public void Acceptor_AdmitsNobody_DiallerGetsNoAnswer()
    {
        using var server = NodeIdentity.Create();
        using var client = NodeIdentity.Create();
        using var user = new QuicTestUser();
        if (!QuicLibrary.IsSupported) Assert.Skip(QuicLibrary.NotSupportedReason!);
        var options = new QuicOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0), HandshakeTimeout = TimeSpan.FromMilliseconds(500) };
        using var silent = new QuicEndpoint(server, options);
        using var dialler = new QuicEndpoint(client, options);
        dialler.Dial(silent.LocalAddress, server.Id, user);
        Assert.True(user.WaitClosed(3));
        Assert.Equal(CloseKind.HandshakeTimeout, user.Reason!.Kind);
    }

    [Theory]
    [InlineData("expired", "valid from")]
    [InlineData("future", "valid from")]
    [InlineData("rsa", "P-256")]
    [InlineData("p384", "P-256")]
    [InlineData("issued", "issued to itself")]
    public void Certificate_OfTheWrongKind_FailsOnBothSides(string kind, string why)
    {
        // Once shown by the dialler, once by the acceptor.
        foreach (bool byDialler in (bool[])[true, false])
        {
            using var bad = BadIdentity(kind);
            using var good = NodeIdentity.Create();
            using var pair = new QuicPair(serverIdentity: byDialler ? good : bad, clientIdentity: byDialler ? bad : good);
            pair.Client.Dial(pair.Server.LocalAddress, pair.Server.LocalNodeId, pair.ClientUser);
            Assert.True(pair.ClientUser.WaitClosed());
            Assert.Equal(CloseKind.Refused, pair.ClientUser.Reason!.Kind);
            Assert.True(pair.ClientUser.Wait(() => pair.LogText.Contains(why, StringComparison.Ordinal)), $"{kind}, by dialler {byDialler}: {pair.LogText}");
            Assert.Null(pair.ServerUser.Connection);
        }
    }

    [Fact]
    public void Certificate_SwappedForAnotherNodes_CannotEvenBeLoaded()
    {
        if (!QuicLibrary.IsSupported) Assert.Skip(QuicLibrary.NotSupportedReason!);
        using var victim = NodeIdentity.Create();
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var thief = NodeIdentity.Of(key, X509CertificateLoader.LoadCertificate(victim.Certificate.RawData));
        Assert.Equal(victim.Id, thief.Id);
        Assert.Throws<InvalidOperationException>(() => new QuicEndpoint(thief, new QuicOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0) }));
    }

    internal static NodeIdentity BadIdentity(string kind)
    {
        if (kind == "rsa")
        {
            var rsa = RSA.Create(2048);
            var request = new CertificateRequest("CN=orion-node", rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
            return NodeIdentity.Of(rsa, request.CreateSelfSigned(_year, _year.AddYears(100)));
        }
        var key = ECDsa.Create(kind == "p384" ? ECCurve.NamedCurves.nistP384 : ECCurve.NamedCurves.nistP256);
        var plain = new CertificateRequest("CN=orion-node", key, HashAlgorithmName.SHA256);
        if (kind != "issued")
        {
            var from = kind == "future" ? _year.AddYears(100) : _year.AddYears(-1);
            return NodeIdentity.Of(key, plain.CreateSelfSigned(from, kind == "expired" ? _year : from.AddYears(1000)));
        }
        var generator = X509SignatureGenerator.CreateForECDsa(key);
        using var issued = plain.Create(new X500DistinguishedName("CN=somebody"), generator, _year, _year.AddYears(100), [1, 2, 3]);
        return NodeIdentity.Of(key, issued.CopyWithPrivateKey(key));
    }

    static void AssertRefused(QuicPair pair, string why)
    {
        pair.ClientUser.Offer(Lane.Forward, 1000);
        pair.Client.Dial(pair.Server.LocalAddress, pair.Server.LocalNodeId, pair.ClientUser);
        Assert.True(pair.ClientUser.WaitClosed());
        Assert.Equal(CloseKind.Refused, pair.ClientUser.Reason!.Kind);
        Assert.True(pair.ClientUser.Wait(() => pair.LogText.Contains(why, StringComparison.Ordinal)), pair.LogText);
        AssertServerUntouched(pair);
    }

    static void AssertServerUntouched(QuicPair pair)
    {
        Assert.True(pair.ClientUser.Wait(() => pair.Server.ConnectionCount == 0), $"the acceptor still holds {pair.Server.ConnectionCount} connections");
        Assert.Null(pair.ServerUser.Connection);
        Assert.Equal(0, pair.ServerUser.Received(Lane.Forward));
    }
}
