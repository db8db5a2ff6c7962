// System.Net.Quic as a peer of the measurements: one connection, one stream both ways, windows of 64 MiB, both certificates
// checked. It needs libmsquic, which neither Debian nor the registry of packages has for Linux; where an operator installed
// it (or ORION_MSQUIC_PATH names the file), the suites run this beside the others, elsewhere they say SKIPPED.
using System.Net;
using System.Net.Quic;
using System.Net.Security;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Security.Cryptography.X509Certificates;
using OrionNative.Net.Identity;

namespace OrionNative.Bench.Net;

[SupportedOSPlatform("linux")]
static class SystemQuic
{
    const int WindowBytes = 64 << 20;
    static readonly SslApplicationProtocol _protocol = new("orion/1");

    /// <summary>Why there is no such peer here; null if there is.</summary>
    public static string? Missing()
    {
        string? path = Environment.GetEnvironmentVariable("ORION_MSQUIC_PATH");
        // The loader takes a library that is loaded already, whatever its path, so this must come before the first question.
        if (path is not null && !NativeLibrary.TryLoad(path, out _)) return $"ORION_MSQUIC_PATH={path} cannot be loaded";
        return QuicListener.IsSupported ? null
            : "libmsquic is not on this machine and Debian has no package of it. Fix: install Microsoft's libmsquic 2.2.2 or newer, or set ORION_MSQUIC_PATH to libmsquic.so.2";
    }

    /// <summary>The two ends of one stream.</summary>
    public static (Stream Out, Stream In) Connect(NodeIdentity a, NodeIdentity b) => ConnectAsync(a, b).GetAwaiter().GetResult();

    static async Task<(Stream Out, Stream In)> ConnectAsync(NodeIdentity a, NodeIdentity b)
    {
        bool Knows(X509Certificate? certificate) => certificate is not null && (certificate.Equals(a.Certificate) || certificate.Equals(b.Certificate));
        var server = new QuicServerConnectionOptions
        {
            DefaultCloseErrorCode = 0,
            DefaultStreamErrorCode = 0,
            MaxInboundBidirectionalStreams = 1,
            ServerAuthenticationOptions = new SslServerAuthenticationOptions
            {
                ApplicationProtocols = [_protocol],
                ServerCertificate = b.Certificate,
                ClientCertificateRequired = true,
                RemoteCertificateValidationCallback = (_, certificate, _, _) => Knows(certificate),
            },
        };
        SetWindows(server.InitialReceiveWindowSizes);
        await using QuicListener listener = await QuicListener.ListenAsync(new QuicListenerOptions
        {
            ListenEndPoint = new IPEndPoint(IPAddress.Loopback, 0),
            ApplicationProtocols = [_protocol],
            ConnectionOptionsCallback = (_, _, _) => ValueTask.FromResult(server),
        });
        var client = new QuicClientConnectionOptions
        {
            RemoteEndPoint = listener.LocalEndPoint,
            DefaultCloseErrorCode = 0,
            DefaultStreamErrorCode = 0,
            ClientAuthenticationOptions = new SslClientAuthenticationOptions
            {
                TargetHost = "orion",
                ApplicationProtocols = [_protocol],
                ClientCertificates = [a.Certificate],
                RemoteCertificateValidationCallback = (_, certificate, _, _) => Knows(certificate),
            },
        };
        SetWindows(client.InitialReceiveWindowSizes);
        Task<QuicConnection> accepting = listener.AcceptConnectionAsync().AsTask();
        QuicConnection dialled = await QuicConnection.ConnectAsync(client), accepted = await accepting;
        QuicStream sending = await dialled.OpenOutboundStreamAsync(QuicStreamType.Bidirectional);
        await sending.WriteAsync(new byte[1]); // a stream exists for its peer with its first byte
        QuicStream receiving = await accepted.AcceptInboundStreamAsync();
        await receiving.ReadExactlyAsync(new byte[1]);
        return (sending, receiving);
    }

    static void SetWindows(QuicReceiveWindowSizes sizes) =>
        sizes.Connection = sizes.LocallyInitiatedBidirectionalStream = sizes.RemotelyInitiatedBidirectionalStream = sizes.UnidirectionalStream = WindowBytes;
}
