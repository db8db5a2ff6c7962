// From a TCP connection to a peer whose key is proved: TLS 1.3, both sides show a certificate, ALPN orion/1, no resumption.
// Chains, names and revocation mean nothing here; PeerCertificate and the NodeId decide (as for QUIC).
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Tls;

/// <summary>The peer was not accepted; the sentence is for this side's operator.</summary>
sealed class PeerRefusedException(string message) : Exception(message);

static class TlsHandshake
{
    const int TcpLevel = 6, TcpCongestion = 13, TcpNotSentLowWater = 25;
    static readonly SslApplicationProtocol _protocol = new("orion/1");

    // As for QUIC: AES-128-GCM first, the fastest with AES instructions.
    static readonly CipherSuitesPolicy _suites = new([TlsCipherSuite.TLS_AES_128_GCM_SHA256, TlsCipherSuite.TLS_AES_256_GCM_SHA384, TlsCipherSuite.TLS_CHACHA20_POLY1305_SHA256]);

    /// <summary>Sets a stripe's socket up; returns the congestion control in use.</summary>
    public static string Prepare(Socket socket, TlsOptions options)
    {
        socket.NoDelay = true;
        socket.SetRawSocketOption(TcpLevel, TcpNotSentLowWater, BitConverter.GetBytes(options.UnsentBytesMax));
        try
        {
            socket.SetRawSocketOption(TcpLevel, TcpCongestion, System.Text.Encoding.ASCII.GetBytes(options.CongestionControl));
        }
        catch (SocketException)
        {
            // the kernel lacks it or keeps it for root; the name read back says what is used instead, and the log shows it
        }
        byte[] name = new byte[16];
        int bytes = socket.GetRawSocketOption(TcpLevel, TcpCongestion, name);
        return System.Text.Encoding.ASCII.GetString(name, 0, bytes).TrimEnd('\0');
    }

    public static async Task<(SslStream Stream, NodeId Peer)> DialAsync(Socket socket, NodeIdentity identity, NodeId expected, CancellationToken cancellation)
    {
        var check = new Check(expected);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true), leaveInnerStreamOpen: false);
        var options = new SslClientAuthenticationOptions
        {
            TargetHost = "orion",
            EnabledSslProtocols = SslProtocols.Tls13,
            ApplicationProtocols = [_protocol],
            AllowTlsResume = false,
            AllowRenegotiation = false,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            CipherSuitesPolicy = _suites,
            ClientCertificateContext = Context(identity),
            RemoteCertificateValidationCallback = (_, certificate, _, _) => check.Accepts(certificate),
        };
        await RunAsync(stream, check, () => stream.AuthenticateAsClientAsync(options, cancellation)).ConfigureAwait(false);
        return (stream, check.Peer);
    }

    public static async Task<(SslStream Stream, NodeId Peer)> AcceptAsync(Socket socket, NodeIdentity identity, CancellationToken cancellation)
    {
        var check = new Check(null);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true), leaveInnerStreamOpen: false);
        var options = new SslServerAuthenticationOptions
        {
            EnabledSslProtocols = SslProtocols.Tls13,
            ApplicationProtocols = [_protocol],
            AllowTlsResume = false,
            AllowRenegotiation = false,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            CipherSuitesPolicy = _suites,
            ClientCertificateRequired = true,
            ServerCertificateContext = Context(identity),
            RemoteCertificateValidationCallback = (_, certificate, _, _) => check.Accepts(certificate),
        };
        await RunAsync(stream, check, () => stream.AuthenticateAsServerAsync(options, cancellation)).ConfigureAwait(false);
        return (stream, check.Peer);
    }

    static SslStreamCertificateContext Context(NodeIdentity identity) => SslStreamCertificateContext.Create(identity.Certificate, null, offline: true);

    static async Task RunAsync(SslStream stream, Check check, Func<Task> authenticate)
    {
        try
        {
            await authenticate().ConfigureAwait(false);
            if (check.Peer.IsEmpty) throw new PeerRefusedException(check.Refusal ?? "the peer showed no certificate");
            if (stream.NegotiatedApplicationProtocol != _protocol) throw new PeerRefusedException($"the peer does not speak {_protocol}");
        }
        catch (AuthenticationException failure)
        {
            await stream.DisposeAsync().ConfigureAwait(false);
            throw new PeerRefusedException(check.Refusal ?? $"the TLS handshake failed: {failure.InnerException?.Message ?? failure.Message}");
        }
        catch
        {
            await stream.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    sealed class Check(NodeId? expected)
    {
        public NodeId Peer { get; private set; }

        public string? Refusal { get; private set; }

        public bool Accepts(X509Certificate? certificate)
        {
            byte[] der = certificate?.GetRawCertData() ?? [];
            if (!PeerCertificate.TryIdentify(der, DateTimeOffset.UtcNow, out NodeId id, out string? refusal)) Refusal = refusal;
            else if (expected is { } wanted && id != wanted) Refusal = $"the peer is {id.Short}, expected {wanted.Short}";
            else Peer = id;
            return Refusal is null;
        }
    }
}
