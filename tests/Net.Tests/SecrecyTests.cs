// What the wire shows to others, and what TLS agrees on: no payload byte in a packet capture of the loopback, AES-128-GCM first
// and chosen, no early data and nothing to resume, over both transports. Alone: the capture holds what anybody sends here, and
// loses frames when that is too much.
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using OrionNative.Net.Framing;
using OrionNative.Net.Quic;
using OrionNative.Net.Tests.Links;

namespace OrionNative.Net.Tests;

[Collection(nameof(Alone))]
public class SecrecyTests
{
    const int ExtensionEarlyData = 42, ExtensionPreSharedKey = 41;

    static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    public static TheoryData<TransportKind> Kinds => [TransportKind.Quic, TransportKind.Tcp];

    [Theory, MemberData(nameof(Kinds))]
    public async Task CaptureOfTheLoopback_WholeTransfer_ShowsNoPayload(TransportKind kind)
    {
        const int Bytes = 400_000, Window = 16;
        LinkedPair.SkipWithout(kind);
        if (LoopbackCapture.NotSupportedReason() is { } missing) Assert.Skip(missing);
        using var capture = new LoopbackCapture();
        CheckingHandler a = new(), b = new();
        var pool = new PinnedPool(new SlotClass(Bytes, 2));
        byte[] payload = new byte[Bytes];
        CheckingHandler.Fill(payload, 3);
        using var plain = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        plain.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        int port;
        using (var pair = new LinkedPair(kind, a, b))
        {
            port = pair.Address.Port;
            Assert.True(pool.TryRent(Bytes, out Slot target));
            Assert.True(pool.TryRent(Bytes, out Slot source));
            pair.LinkB.Grant(target, Lane.Forward);
            payload.CopyTo(source.Span(Bytes));
            var header = new MessageHeader { Run = LinkedPair.Run, Microbatch = 3, Kind = MessageKind.Code, PayloadBytes = Bytes };
            Assert.Equal(Answer.Accepted, await pair.LinkA.SendAsync(header, source).AsTask().WaitAsync(_patience));
            pool.Return(source);
        }
        pool.Dispose();
        Assert.Empty(b.Wrong);
        // the same search finds what really is in the clear
        int plainPort = ((IPEndPoint)plain.LocalEndPoint!).Port;
        plain.SendTo(payload.AsSpan(0, 1000), plain.LocalEndPoint);
        for (int i = 0; i < 500 && capture.OfPort(plainPort).Count == 0; i++) await Task.Delay(10);
        Assert.True(LoopbackCapture.Contains(capture.OfPort(plainPort), payload.AsSpan(500, Window)), "the capture does not see this machine's loopback");

        List<byte[]> frames = capture.OfPort(port);
        Assert.True(frames.Sum(static frame => (long)frame.Length) > Bytes, "the capture is not whole");
        for (int at = 0; at + Window <= Bytes; at += 997) Assert.False(LoopbackCapture.Contains(frames, payload.AsSpan(at, Window)), $"payload byte {at} is readable on the wire");
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task Handshake_OfEitherTransport_ChoosesAes128Gcm(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        CheckingHandler a = new(), b = new();
        using var pair = new LinkedPair(kind, a, b);
        await Task.WhenAll(a.Opened, b.Opened).WaitAsync(_patience);
        string expected = kind == TransportKind.Quic ? "open (AES-128-GCM)" : "TLS_AES_128_GCM_SHA256)";
        lock (pair.Lines) Assert.Equal(2, pair.Lines.Count(line => line.Contains(expected)));
    }

    [Fact]
    public void SecondConnectionToTheSameServer_OffersNoResumptionAndNoEarlyData()
    {
        using QuicTestUser again = new(), listening = new();
        int admitted = 0;
        QuicPair? made = null;
        using var pair = made = new QuicPair(new QuicOptions { Admit = _ => Admission.Accept(admitted++ == 0 ? made!.ServerUser : listening) });
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        var sent = new List<byte[]>();
        relay.Pass = (datagram, toListener) =>
        {
            lock (sent)
                if (toListener) sent.Add(datagram.ToArray());
            return true;
        };
        pair.Connect(relay.Address);
        pair.ClientUser.Offer(Lane.Forward, 100_000); // time for a ticket to come, if one did
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) == 100_000));
        pair.ClientUser.Connection!.Close("once more");
        Assert.True(pair.ClientUser.WaitClosed() && pair.ServerUser.WaitClosed());
        byte[][] before;
        lock (sent) before = [.. sent];
        again.Offer(Lane.Forward, 1000); // what could leave early
        pair.Client.Dial(relay.Address, pair.Server.LocalNodeId, again);
        byte[] first;
        Assert.True(listening.Wait(() => listening.Received(Lane.Forward) == 1000), pair.LogText);
        // an acknowledgement of the first connection may still come after it
        lock (sent) first = sent.Skip(before.Length).First(static datagram => (datagram[0] & 0xf0) == 0xc0); // long header, type Initial
        foreach (byte[] hello in (byte[][])[before[0], first])
        {
            (List<int> suites, List<int> extensions) = ReadHello(QuicInitialForge.Frames(hello));
            Assert.Equal(0x1301, suites[0]); // TLS_AES_128_GCM_SHA256 (RFC 8446, B.4)
            Assert.DoesNotContain(ExtensionPreSharedKey, extensions);
            Assert.DoesNotContain(ExtensionEarlyData, extensions);
            // a datagram of one Initial packet holds no 0-RTT packet behind it: the Initial's length reaches the end
            Assert.Equal(hello.Length, EndOfFirstPacket(hello));
        }
        lock (sent) Assert.DoesNotContain(sent, static datagram => (datagram[0] & 0xf0) == 0xd0); // long header, type 0-RTT
    }

    static int EndOfFirstPacket(byte[] datagram)
    {
        int sourceAt = 6 + datagram[5], tokenAt = sourceAt + 1 + datagram[sourceAt];
        Assert.Equal(0, datagram[tokenAt]);
        int at = tokenAt + 1, lengthBytes = 1 << (datagram[at] >> 6), length = datagram[at] & 0x3f;
        for (int i = 1; i < lengthBytes; i++) length = length << 8 | datagram[at + i];
        return at + lengthBytes + length;
    }

    // CRYPTO frame (RFC 9000, 19.6) with a ClientHello (RFC 8446, 4.1.2) at its beginning
    static (List<int> Suites, List<int> Extensions) ReadHello(byte[] frames)
    {
        Assert.Equal(6, frames[0]);
        int at = 1;
        at += 1 << (frames[at] >> 6);
        at += 1 << (frames[at] >> 6);
        at += 4 + 2 + 32;
        at += 1 + frames[at];
        List<int> suites = [], extensions = [];
        int end = at + 2 + BinaryPrimitives.ReadUInt16BigEndian(frames.AsSpan(at));
        for (at += 2; at < end; at += 2) suites.Add(BinaryPrimitives.ReadUInt16BigEndian(frames.AsSpan(at)));
        at += 1 + frames[at];
        end = at + 2 + BinaryPrimitives.ReadUInt16BigEndian(frames.AsSpan(at));
        for (at += 2; at < end; at += 4 + BinaryPrimitives.ReadUInt16BigEndian(frames.AsSpan(at + 2))) extensions.Add(BinaryPrimitives.ReadUInt16BigEndian(frames.AsSpan(at)));
        return (suites, extensions);
    }
}
