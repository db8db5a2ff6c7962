// How soon a peer's silence or end is known, and that quiet is not taken for it. Clocks are in the assertions, so these run alone.
using System.Diagnostics;
using OrionNative.Net.Framing;
using OrionNative.Net.Quic;

namespace OrionNative.Net.Tests;

[Collection(nameof(Alone))]
public class QuicTimedTests
{
    static readonly QuicOptions _impatient = new()
    {
        IdleTimeout = TimeSpan.FromSeconds(1),
        KeepAlive = TimeSpan.FromMilliseconds(250),
        HandshakeTimeout = TimeSpan.FromSeconds(1),
    };

    [Theory]
    [InlineData(0)]
    [InlineData(50_000_000)]
    public void Peer_Blackholed_IsNoticedWithinTheIdleTime(long offered)
    {
        using var pair = new QuicPair(_impatient, _impatient);
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        pair.Connect(relay.Address);
        pair.ClientUser.Offer(Lane.Bulk, offered);
        Assert.True(offered == 0 || pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Bulk) > 1_000_000));
        relay.Pass = (_, _) => false;
        long began = Stopwatch.GetTimestamp();
        Assert.True(pair.ClientUser.WaitClosed(3) && pair.ServerUser.WaitClosed(3));
        // A second of silence plus a scheduling allowance for two busy cores.
        Assert.InRange(Stopwatch.GetElapsedTime(began).TotalSeconds, 0.5, 1.5);
        Assert.Equal(CloseKind.Idle, pair.ClientUser.Reason!.Kind);
        Assert.Equal(CloseKind.Idle, pair.ServerUser.Reason!.Kind);
        Assert.True(pair.ClientUser.Reason.IsTransient);
    }

    [Fact]
    public void Peer_HeardNoMore_WhileItStillHears_IsGivenUpWithinTheIdleTimeAndNamed()
    {
        using var pair = new QuicPair(_impatient, _impatient);
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        pair.Connect(relay.Address);
        relay.Pass = (_, toListener) => toListener; // everything of the dialler's arrives, no acknowledgement comes back
        pair.ClientUser.Offer(Lane.Bulk, 50_000_000);
        long began = Stopwatch.GetTimestamp();
        Assert.True(pair.ClientUser.WaitClosed(3), pair.LogText);
        Assert.InRange(Stopwatch.GetElapsedTime(began).TotalSeconds, 0.5, 1.5);
        Assert.Equal(CloseKind.Idle, pair.ClientUser.Reason!.Kind);
        Assert.Contains($"quic to {pair.Server.LocalNodeId.Short}", pair.LogText, StringComparison.Ordinal);
    }

    [Fact]
    public void PeersPort_HeldByNobodyAnyMore_BothSidesKnowLongBeforeTheIdleTime()
    {
        // as after SIGKILL: the kernel closes the port, nobody says goodbye, and the host answers with ICMP
        var talkative = new QuicOptions { KeepAlive = TimeSpan.FromMilliseconds(250) };
        using var pair = new QuicPair(talkative, talkative);
        var relay = new QuicTestRelay(pair.Server.LocalAddress);
        pair.Connect(relay.Address);
        long began = Stopwatch.GetTimestamp();
        relay.Dispose();
        Assert.True(pair.ClientUser.WaitClosed(5) && pair.ServerUser.WaitClosed(5), pair.LogText);
        // one keep-alive until something is refused, a probe timeout until it is refused again, and the same for busy cores
        Assert.InRange(Stopwatch.GetElapsedTime(began).TotalSeconds, 0, 1);
        Assert.Equal(CloseKind.Reset, pair.ClientUser.Reason!.Kind);
        Assert.Equal(CloseKind.Reset, pair.ServerUser.Reason!.Kind);
    }

    [Fact]
    public void QuietConnection_LongerThanItsIdleTime_StaysOpen()
    {
        using var pair = new QuicPair(_impatient, _impatient);
        pair.Connect();
        Assert.False(pair.ClientUser.WaitClosed(2.5), pair.LogText);
        Assert.Null(pair.ServerUser.Reason);
    }

    [Fact]
    public void Acceptor_RestartsWithItsKey_DiallerIsToldAtOnce()
    {
        using var pair = new QuicPair();
        using var relay = new QuicTestRelay(pair.Server.LocalAddress);
        pair.Connect(relay.Address);
        relay.Pass = (_, toListener) => toListener;
        var address = pair.Server.LocalAddress;
        pair.Server.Dispose();
        using var again = new QuicEndpoint(pair.ServerIdentity, new QuicOptions { Listen = address });
        relay.Pass = (_, _) => true;
        long began = Stopwatch.GetTimestamp();
        pair.ClientUser.Offer(Lane.Forward, 1000);
        Assert.True(pair.ClientUser.WaitClosed(3), pair.LogText);
        Assert.Equal(CloseKind.Reset, pair.ClientUser.Reason!.Kind);
        Assert.True(Stopwatch.GetElapsedTime(began).TotalSeconds < 1);
    }
}
