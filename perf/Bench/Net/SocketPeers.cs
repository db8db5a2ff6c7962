// What everybody has: raw TCP and TLS 1.3 over one TCP connection (SslStream), one thread each side, the same messages; and any
// other pair of streams between two nodes (System.Net.Quic).
using System.Diagnostics;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using OrionNative.Net.Identity;

namespace OrionNative.Bench.Net;

sealed class SocketPeers : IDisposable
{
    readonly NodeIdentity _a = NodeIdentity.Create(), _b = NodeIdentity.Create();
    readonly Stream _out, _in;
    readonly byte[] _message, _target;

    public SocketPeers(int messageBytes, Func<NodeIdentity, NodeIdentity, (Stream Out, Stream In)> connect)
        : this(messageBytes) => (_out, _in) = connect(_a, _b);

    SocketPeers(int messageBytes)
    {
        (_message, _target, _out, _in) = (new byte[messageBytes], new byte[messageBytes], Stream.Null, Stream.Null);
        Random.Shared.NextBytes(_message);
    }

    public SocketPeers(bool encrypted, int messageBytes)
        : this(messageBytes)
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        var connecting = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        connecting.Connect(listener.LocalEndPoint!);
        Socket accepted = listener.Accept();
        connecting.NoDelay = accepted.NoDelay = true;
        (_out, _in) = (new NetworkStream(connecting, true), new NetworkStream(accepted, true));
        if (!encrypted) return;
        var client = new SslStream(_out);
        var server = new SslStream(_in);
        // Synchronous on purpose: one asynchronous call would leave the socket in non-blocking mode, and every later Read and
        // Write would pass through the socket engine and the thread pool, at a quarter of the speed.
        Task accepting = Task.Factory.StartNew(() => server.AuthenticateAsServer(new SslServerAuthenticationOptions
        {
            EnabledSslProtocols = SslProtocols.Tls13,
            ServerCertificate = _b.Certificate,
            ClientCertificateRequired = true,
            RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null && Known(certificate),
        }), TaskCreationOptions.LongRunning);
        client.AuthenticateAsClient(new SslClientAuthenticationOptions
        {
            TargetHost = "orion",
            EnabledSslProtocols = SslProtocols.Tls13,
            ClientCertificates = [_a.Certificate],
            RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null && Known(certificate),
        });
        accepting.Wait();
        (_out, _in) = (client, server);
    }

    bool Known(System.Security.Cryptography.X509Certificates.X509Certificate certificate) =>
        certificate.Equals(_a.Certificate) || certificate.Equals(_b.Certificate);

    public void Send(int count)
    {
        Task reading = Task.Factory.StartNew(() =>
        {
            for (int i = 0; i < count; i++) _in.ReadExactly(_target);
            _in.WriteByte(1);
        }, TaskCreationOptions.LongRunning);
        for (int i = 0; i < count; i++) _out.Write(_message);
        _out.ReadByte();
        reading.Wait();
    }

    public List<double> RoundTrips(int count)
    {
        Task echo = Task.Factory.StartNew(() =>
        {
            for (int i = 0; i < count; i++)
            {
                _in.ReadExactly(_target);
                _in.Write(_target);
            }
        }, TaskCreationOptions.LongRunning);
        List<double> times = [];
        byte[] back = new byte[_message.Length];
        for (int i = 0; i < count; i++)
        {
            long began = Stopwatch.GetTimestamp();
            _out.Write(_message);
            _out.ReadExactly(back);
            times.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
        }
        echo.Wait();
        return times;
    }

    public void Dispose()
    {
        _out.Dispose();
        _in.Dispose();
        _a.Dispose();
        _b.Dispose();
    }
}
