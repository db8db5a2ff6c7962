// Abuse below the lanes of the TCP transport, by a peer with a valid key that writes its own stripe: it reads and never
// acknowledges, or it does not even read. (Over QUIC these are in AbuseTests: window zero, and a relay that swallows one way.)
using System.Buffers.Binary;
using System.Net.Security;
using System.Net.Sockets;
using OrionNative.Net.Framing;
using OrionNative.Net.Tls;

namespace OrionNative.Net.Tests.Abuse;

public sealed class StripeAbuseTests(AbusedServer server) : AbuseCase(server), IClassFixture<AbusedServer>
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task PeerSpeaks_AndNeverAcknowledgesOrReads_IsNamedAndCutOff(bool reads)
    {
        await WithstandAsync(TransportKind.Tcp, "for 6 s", Attacker.Id.Short, async () =>
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
            await socket.ConnectAsync(Server.Address(TransportKind.Tcp));
            (SslStream stream, _) = await TlsHandshake.DialAsync(socket, Attacker, Server.Id, CancellationToken.None);
            using SslStream owned = stream;
            byte[] preface = new byte[StripePreface.Bytes];
            new StripePreface(7, 0, 1).Encode(preface);
            await stream.WriteAsync(preface);
            if (reads) _ = DrainAsync(stream);
            byte[] grants = [.. Enumerable.Range(0, 64).SelectMany(static i => RawPeer.Control(new ControlFrame(ControlFrameType.Grant) { Lane = Lane.Forward, Slot = (uint)i, Value = 1 << 20 }))];
            byte[] ask = [.. Enumerable.Range(0, 64).SelectMany(static _ => (byte[])[.. RawPeer.Control(new ControlFrame(ControlFrameType.Request) { Id = 1, BodyBytes = 1 }), AbusedServer.SendMeOne])];
            byte[] control = [.. RawPeer.Hello(), .. grants, .. ask];
            await stream.WriteAsync((byte[])[.. Frame(TlsFrameType.Data, control.Length), .. control]);
            await SpeakUntilClosedAsync(stream);
        });
    }

    static byte[] Frame(TlsFrameType type, int bodyBytes)
    {
        byte[] wire = new byte[TlsFrame.Bytes];
        wire[0] = (byte)type;
        BinaryPrimitives.WriteInt32LittleEndian(wire.AsSpan(4), bodyBytes);
        return wire;
    }

    static async Task SpeakUntilClosedAsync(SslStream stream)
    {
        try
        {
            for (int i = 0; i < 300; i++)
            {
                await stream.WriteAsync(Frame(TlsFrameType.Alive, 0));
                await Task.Delay(100);
            }
            Assert.Fail("the server keeps a peer that acknowledges nothing");
        }
        catch (IOException)
        {
            // cut off
        }
    }

    static async Task DrainAsync(SslStream stream)
    {
        try
        {
            byte[] buffer = new byte[65536];
            while (await stream.ReadAsync(buffer) > 0) { }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // cut off
        }
    }
}
