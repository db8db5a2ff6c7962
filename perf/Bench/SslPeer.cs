// The peer of the wire suites: SslStream, TLS 1.3 with certificates on both sides, over one TCP connection on loopback, a
// thread at each end. It does what an ordinary .NET program would do: one Write per unit, Read until the unit is whole.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using OrionNative.Net.Identity;

namespace OrionNative.Bench;

sealed class SslPeer : IDisposable
{
    readonly NodeIdentity _here = NodeIdentity.Create(), _there = NodeIdentity.Create();
    readonly SslStream _client, _server;
    readonly byte[] _source, _destination, _back;

    public SslPeer(int unit)
    {
        (_source, _destination, _back) = (new byte[unit], new byte[unit], new byte[unit]);
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var dial = new TcpClient { NoDelay = true };
        dial.Connect((IPEndPoint)listener.LocalEndpoint);
        var accepted = listener.AcceptTcpClient();
        accepted.NoDelay = true;
        _client = new SslStream(dial.GetStream(), false, (_, _, _, _) => true);
        _server = new SslStream(accepted.GetStream(), false, (_, _, _, _) => true);
        var serving = Task.Run(() => _server.AuthenticateAsServer(new SslServerAuthenticationOptions
        {
            ServerCertificate = _there.Certificate,
            ClientCertificateRequired = true,
            EnabledSslProtocols = SslProtocols.Tls13,
        }));
        _client.AuthenticateAsClient(new SslClientAuthenticationOptions
        {
            TargetHost = "orion-node",
            ClientCertificates = [_here.Certificate],
            EnabledSslProtocols = SslProtocols.Tls13,
        });
        serving.Wait();
    }

    /// <summary>Sends units one way; returns when the last has arrived.</summary>
    public void OneWay(int units)
    {
        var reader = Task.Run(() =>
        {
            for (int i = 0; i < units; i++) _server.ReadExactly(_destination);
        });
        for (int i = 0; i < units; i++) _client.Write(_source);
        reader.Wait();
    }

    /// <summary>One unit there and back.</summary>
    public void Echo()
    {
        var reader = Task.Run(() =>
        {
            _server.ReadExactly(_destination);
            _server.Write(_destination);
        });
        _client.Write(_source);
        _client.ReadExactly(_back);
        reader.Wait();
    }

    public void Dispose()
    {
        _client.Dispose();
        _server.Dispose();
        _here.Dispose();
        _there.Dispose();
    }
}
