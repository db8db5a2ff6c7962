// What the network and strangers do to a connection: new addresses, restarts, floods, eavesdroppers.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Quic;

namespace OrionNative.Net.Tests;

public class QuicFaultTests
{
    [Theory]
    [InlineData(1300, 1200)]
    [InlineData(1428, 1404)]
    [InlineData(1472, 1472)]
    [InlineData(9000, 8932)]
    public void PathOfSomeSize_Discovered_PacketsAreOfTheLargestProbeThatFits(int passes, int expected)
    {
        using var pair = new QuicPair();
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        int largest = 0;
        relay.Pass = (datagram, toListener) =>
        {
            if (datagram.Length > passes) return false;
            if (toListener) largest = Math.Max(largest, datagram.Length);
            return true;
        };
        pair.Connect(relay.Address);
        for (long bytes = 5_000_000; bytes <= 30_000_000 && largest < expected; bytes += 5_000_000)
        {
            pair.ClientUser.Offer(Lane.Forward, 5_000_000);
            Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) >= bytes), $"{pair.ServerUser.Received(Lane.Forward)} of {bytes}, largest {largest}\n{pair.LogText}");
        }
        Assert.Equal(expected, largest);
        Assert.False(pair.ServerUser.IsDamaged);
    }

    [Fact]
    public void Dial_NobodyThere_EndsAtTheHandshakeTimeout()
    {
        using var pair = new QuicPair(client: new QuicOptions { HandshakeTimeout = TimeSpan.FromSeconds(1) });
        var nobody = pair.Server.LocalAddress;
        pair.Server.Dispose();
        pair.Client.Dial(nobody, pair.Server.LocalNodeId, pair.ClientUser);
        Assert.True(pair.ClientUser.WaitClosed(3));
        Assert.Equal(CloseKind.HandshakeTimeout, pair.ClientUser.Reason!.Kind);
    }

    [Fact]
    public void Dialler_ChangesItsAddressInAMessage_EveryByteArrives()
    {
        const long Bytes = 60_000_000;
        using var pair = new QuicPair();
        pair.Connect();
        var before = pair.ServerUser.Connection!.RemoteAddress;
        pair.ClientUser.Offer(Lane.Forward, Bytes);
        pair.ServerUser.Offer(Lane.Backward, Bytes);
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) > 1_000_000));
        pair.Client.Rebind(new IPEndPoint(IPAddress.Parse("127.0.0.2"), 0));
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) == Bytes), $"{pair.ServerUser.Received(Lane.Forward)}\n{pair.LogText}");
        Assert.True(pair.ClientUser.Wait(() => pair.ClientUser.Received(Lane.Backward) == Bytes), $"{pair.ClientUser.Received(Lane.Backward)}\n{pair.LogText}");
        Assert.False(pair.ServerUser.IsDamaged || pair.ClientUser.IsDamaged);
        Assert.NotEqual(before, pair.ServerUser.Connection.RemoteAddress);
        Assert.Equal(pair.Client.LocalAddress, pair.ServerUser.Connection.RemoteAddress);
        Assert.Contains("moved from", pair.LogText, StringComparison.Ordinal);
    }

    [Fact]
    public void Translator_GivesTheDiallerANewPort_EveryByteArrives()
    {
        const long Bytes = 20_000_000;
        using var pair = new QuicPair();
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        pair.Connect(relay.Address);
        pair.ClientUser.Offer(Lane.Forward, Bytes);
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) > 1_000_000));
        relay.ChangePorts();
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) == Bytes), $"{pair.ServerUser.Received(Lane.Forward)}\n{pair.LogText}");
        Assert.False(pair.ServerUser.IsDamaged);
    }

    [Fact]
    public void Retry_AskedOfEverybody_HonestDiallerGetsIn()
    {
        using var pair = new QuicPair(new QuicOptions { RetryAboveHalfOpen = 0 });
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        bool retried = false;
        relay.Pass = (datagram, toListener) =>
        {
            // Long header, type 3 (RFC 9000, 17.2.5).
            if (!toListener && (datagram.Span[0] & 0xf0) == 0xf0) retried = true;
            return true;
        };
        pair.Connect(relay.Address);
        Assert.True(retried);
    }

    [Fact]
    public void HalfOpenHandshakes_ByTheThousand_AreBoundedAndHonestDiallersGetIn()
    {
        var options = new QuicOptions { RetryAboveHalfOpen = 16, HandshakeTimeout = TimeSpan.FromSeconds(5) };
        using var pair = new QuicPair(options, new QuicOptions { ConnectionsMax = 5000, HandshakeTimeout = TimeSpan.FromSeconds(5) });
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        relay.Pass = (_, toListener) => toListener;
        using var flood = new QuicEndpoint(pair.ClientIdentity, new QuicOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0), ConnectionsMax = 5000, HandshakeTimeout = TimeSpan.FromSeconds(5) });
        var users = new List<QuicTestUser>();
        for (int i = 0; i < 2000; i++)
        {
            users.Add(new QuicTestUser());
            flood.Dial(relay.Address, pair.Server.LocalNodeId, users[^1]);
        }
        Assert.True(pair.ServerUser.Wait(() => pair.LogText.Contains("Retry", StringComparison.Ordinal)));
        pair.Connect();
        Assert.InRange(pair.Server.ConnectionCount, 1, options.RetryAboveHalfOpen + 2);
        flood.Dispose();
        foreach (var user in users) user.Dispose();
    }

    [Fact]
    public void Capture_OfAWholeTransfer_ShowsNoPayload()
    {
        const int Window = 16;
        using var pair = new QuicPair();
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        var captured = new MemoryStream();
        relay.Pass = (datagram, _) =>
        {
            lock (captured) captured.Write(datagram.Span);
            return true;
        };
        pair.Connect(relay.Address);
        pair.ClientUser.Offer(Lane.Forward, 2_000_000);
        pair.ServerUser.Offer(Lane.Control, 2_000_000);
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) == 2_000_000) && pair.ClientUser.Wait(() => pair.ClientUser.Received(Lane.Control) == 2_000_000));
        lock (captured)
        {
            ReadOnlySpan<byte> wire = captured.GetBuffer().AsSpan(0, (int)captured.Length);
            Assert.True(wire.Length > 4_000_000, "the capture is not whole");
            var pattern = QuicTestUser.Source;
            for (int at = 0; at + Window <= pattern.Length; at += 4099) Assert.True(wire.IndexOf(pattern.Slice(at, Window)) < 0, $"payload byte {at} is readable on the wire");
        }
    }

    [Fact]
    public void SteadyState_ManyMegabytes_AllocatesNothingManaged()
    {
        using var pair = new QuicPair();
        var counters = new long[4];
        Action<QuicTestUser, Lane, nuint> Watch(int index) => (user, _, _) =>
        {
            // On the loop'"'"'s own thread, after the first megabytes have warmed everything up.
            if (counters[index] == 0 && user.Received(Lane.Forward) > 30_000_000) counters[index] = GC.GetAllocatedBytesForCurrentThread();
            counters[index + 1] = GC.GetAllocatedBytesForCurrentThread();
        };
        pair.ServerUser.OnReceive = Watch(0);
        pair.ClientUser.OnReceive = Watch(2);
        pair.Connect();
        pair.ClientUser.Offer(Lane.Forward, 200_000_000);
        pair.ServerUser.Offer(Lane.Forward, 200_000_000);
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) == 200_000_000) && pair.ClientUser.Wait(() => pair.ClientUser.Received(Lane.Forward) == 200_000_000));
        Assert.True(counters[0] > 0 && counters[2] > 0);
        Assert.Equal(0, counters[1] - counters[0]);
        Assert.Equal(0, counters[3] - counters[2]);
    }

    [Fact]
    public void Sink_FindsBadFraming_ConnectionEndsAndNamesTheOffender()
    {
        using var pair = new QuicPair();
        pair.ServerUser.OnReceive = (_, _, _) => throw new InvalidDataException("a header of 3 bytes");
        pair.Connect();
        pair.ClientUser.Offer(Lane.Control, 100);
        Assert.True(pair.ServerUser.WaitClosed() && pair.ClientUser.WaitClosed());
        Assert.Equal(new CloseReason(CloseKind.Protocol, "a header of 3 bytes"), pair.ServerUser.Reason);
        Assert.Equal(CloseKind.Protocol, pair.ClientUser.Reason!.Kind);
        Assert.Contains($"quic from {pair.Client.LocalNodeId.Short}", pair.LogText, StringComparison.Ordinal);
    }

    [Fact]
    public void ManyConnections_OneEndpoint_AllCarry()
    {
        using var pair = new QuicPair();
        var server = new QuicTestUser[20];
        var client = new QuicTestUser[server.Length];
        int admitted = 0;
        using var listener = new QuicEndpoint(pair.ServerIdentity, new QuicOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0), ConnectionsPerPeer = server.Length, Admit = _ => Admission.Accept(server[admitted++]) });
        for (int i = 0; i < server.Length; i++) (server[i], client[i]) = (new QuicTestUser(), new QuicTestUser());
        foreach (var user in client)
        {
            user.Offer(Lane.Bulk, 2_000_000);
            pair.Client.Dial(listener.LocalAddress, listener.LocalNodeId, user);
        }
        foreach (var user in server) Assert.True(user.Wait(() => user.Received(Lane.Bulk) == 2_000_000) && !user.IsDamaged);
        listener.Dispose();
        pair.Client.Dispose();
        foreach (var user in (QuicTestUser[])[.. server, .. client]) user.Dispose();
    }
}
