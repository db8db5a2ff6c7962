// Every payload arrives whole, in a granted slot, exactly once, whatever the link does to the datagrams: rate x delay x loss x
// reorder x duplicate over both transports, and blackouts. The seed of each case is in its arguments.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Links;

namespace OrionNative.Net.Tests.Links;

public class MatrixTests
{
    const int Messages = 24;

    // Above 2 % loss BBR keeps few packets under way, and the long campaign runs beside other work.
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 240 : 60);

    public static TheoryData<double, double, double, double, double, int> Links()
    {
        var data = new TheoryData<double, double, double, double, double, int>();
        if (Environment.GetEnvironmentVariable("ORION_LONG") == "1")
        {
            int seed = 100;
            double[] rates = Environment.GetEnvironmentVariable("ORION_MATRIX_RATE") is { } one ? [double.Parse(one)] : [0, 20, 100, 500];
            foreach (double rate in rates)
                foreach (double delay in new[] { 0, 5, 30, 100 })
                    foreach (double loss in new[] { 0, 0.1, 1, 5 })
                        foreach (double chaos in new[] { 0, 1, 10 })
                            data.Add(rate, delay, loss, chaos, chaos / 2, seed++ + (int)rate);
            return data;
        }
        // Mbit/s, ms one way, % lost, % reordered, % doubled, seed: all pairs of the extremes
        data.Add(0, 0, 0, 0, 0, 1);
        data.Add(0, 10, 5, 10, 0, 2);
        data.Add(0, 10, 0, 0, 5, 3);
        data.Add(50, 0, 5, 0, 5, 4);
        data.Add(50, 10, 0, 10, 0, 5);
        data.Add(50, 10, 1, 10, 5, 6);
        data.Add(200, 30, 1, 1, 1, 7);
        data.Add(200, 0, 0, 10, 5, 8);
        return data;
    }

    [Theory, MemberData(nameof(Links))]
    public async Task Quic_ThroughABadLink_EverythingArrivesOnce(double megabits, double delayMs, double loss, double reorder, double twice, int seed)
    {
        LinkedPair.SkipWithout(TransportKind.Quic);
        using var relay = new UdpRelay();
        EmulatedLink? link = null;
        int dials = 0;
        LinkProfile profile = BadLink(megabits, delayMs, loss, reorder, twice, seed);
        await Exchange(TransportKind.Quic, target => (link = relay.Add(new IPEndPoint(IPAddress.Loopback, 0), target, profile, seed + (1000 * dials++))).Address);
        // the conditions must have been felt
        Assert.True(link!.Up.Packets > 100);
        if (loss >= 1) Assert.True(link.Up.Lost + link.Down.Lost > 0);
        if (reorder > 0) Assert.True(link.Up.Late + link.Down.Late > 0);
        if (twice > 0) Assert.True(link.Up.Doubled + link.Down.Doubled > 0);
    }

    [Theory]
    [InlineData(0, 0, 1)]
    [InlineData(50, 10, 2)]
    [InlineData(200, 30, 3)]
    public async Task Tcp_ThroughASlowLink_EverythingArrivesOnce(double megabits, double delayMs, int seed)
    {
        TcpRelay? relay = null;
        LinkProfile profile = LinkProfile.Both(new LinkConditions { BitsPerSecond = megabits * 1e6, Delay = TimeSpan.FromMilliseconds(delayMs) });
        await Exchange(TransportKind.Tcp, target => (relay = new TcpRelay(new IPEndPoint(IPAddress.Loopback, 0), target, profile, seed)).Address,
            new Net.Tls.TlsOptions { StripesOnLoopback = 5 });
        relay!.Dispose();
    }

    // Through IP packets, because a relay of TCP bytes cannot lose, reorder or double any.
    [Theory, MemberData(nameof(Links))]
    public async Task Tcp_ThroughABadLink_EverythingArrivesOnce(double megabits, double delayMs, double loss, double reorder, double twice, int seed)
    {
        if (TunLink.NotSupportedReason() is { } missing) Assert.Skip(missing);
        using var link = new TunLink(BadLink(megabits, delayMs, loss, reorder, twice, seed), seed);
        await Exchange(TransportKind.Tcp, link.Mirror, at: link.Here);
        Assert.True(link.Passed > 100);
        if (loss >= 1) Assert.True(link.Lost > 0);
        if (reorder > 0) Assert.True(link.Late > 0);
        if (twice > 0) Assert.True(link.Doubled > 0);
    }

    [Theory]
    [InlineData(TransportKind.Quic)]
    [InlineData(TransportKind.Tcp)]
    public async Task Blackout_ShorterThanTheIdleTime_DelaysAndLosesNothing(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        LinkProfile profile = LinkProfile.Both(new LinkConditions { BitsPerSecond = 20e6, Delay = TimeSpan.FromMilliseconds(5) });
        using var udp = new UdpRelay();
        EmulatedLink? link = null;
        Task work = Exchange(kind, target => (link = kind == TransportKind.Quic
            ? udp.Add(new IPEndPoint(IPAddress.Loopback, 0), target, profile, 1)
            : new TcpRelay(new IPEndPoint(IPAddress.Loopback, 0), target, profile, 1)).Address);
        while (link is null || (link.Up.Bytes < 1 << 18 && !work.IsCompleted)) await Task.Delay(5);
        link.Profile = LinkProfile.Both(profile.Up with { Blackhole = true });
        await Task.Delay(700);
        // a quarter of a megabyte had passed when it began; the other four take more than a second
        Assert.False(work.IsCompleted, "the blackout came too late to be felt");
        link.Profile = profile;
        await work;
        (link as TcpRelay)?.Dispose();
    }

    static LinkProfile BadLink(double megabits, double delayMs, double loss, double reorder, double twice, int seed) => LinkProfile.Both(new LinkConditions
    {
        BitsPerSecond = megabits * 1e6,
        Delay = TimeSpan.FromMilliseconds(delayMs),
        Jitter = TimeSpan.FromMilliseconds(delayMs / 5),
        Loss = loss / 100,
        LossBurst = seed % 2 == 0 ? 3 : 1,
        Reorder = reorder / 100,
        Duplicate = twice / 100,
    });

    static async Task Exchange(TransportKind kind, Func<IPEndPoint, IPEndPoint> through, Net.Tls.TlsOptions? tls = null, IPAddress? at = null)
    {
        CheckingHandler a, b;
        var pool = new PinnedPool(new SlotClass(64 << 10, 32), new SlotClass(1 << 20, 40));
        using (LinkedPair pair = await Open(kind, through, tls, at))
        {
            (a, b) = (pair.HandlerA, pair.HandlerB);
            Traffic.Grant(pair.LinkA, pool, 1 << 20);
            Traffic.Grant(pair.LinkB, pool, 1 << 20);
            await Task.WhenAll(Traffic.Send(pair.LinkA, pool, 0, Messages, 1 << 20), Traffic.Send(pair.LinkB, pool, 1000, Messages, 1 << 20)).WaitAsync(_patience);
        }
        Assert.Empty(a.Wrong.Concat(b.Wrong));
        Assert.Equal(Enumerable.Range(0, Messages).Select(i => (uint)i), b.Seen.Keys.Order());
        Assert.Equal(Enumerable.Range(1000, Messages).Select(i => (uint)i), a.Seen.Keys.Order());
        Assert.All(a.Seen.Values.Concat(b.Seen.Values), count => Assert.Equal(1, count));
        pool.Dispose(); // throws if a slot is lost
    }

    // A burst of losses can swallow all of a handshake (four packets in ten seconds); then it says so, and who dialled dials again.
    static async Task<LinkedPair> Open(TransportKind kind, Func<IPEndPoint, IPEndPoint> through, Net.Tls.TlsOptions? tls, IPAddress? at)
    {
        for (int attempt = 1; ; attempt++)
        {
            CheckingHandler a = new(), b = new();
            var pair = new LinkedPair(kind, a, b, through, tls: tls, at: at);
            await Task.WhenAny(a.Opened, a.Closed).WaitAsync(_patience);
            if (!a.Closed.IsCompleted) return pair;
            CloseReason reason = await a.Closed;
            Assert.True(attempt < 3 && reason.IsTransient, $"dial {attempt}: {reason}");
            pair.Dispose();
        }
    }
}
