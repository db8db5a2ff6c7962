// The same promises over both transports on real sockets: whole, once, in the right slot, and clear ends.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Links;

public class BothTransportsTests
{
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    public static TheoryData<TransportKind> Kinds => [TransportKind.Quic, TransportKind.Tcp];

    [Theory, MemberData(nameof(Kinds))]
    public async Task MessagesOfAllSizes_BothWays_ArriveWholeAndOnce(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        CheckingHandler a = new(), b = new();
        var pool = new PinnedPool(new SlotClass(64 << 10, 32), new SlotClass(4 << 20, 24));
        using (var pair = new LinkedPair(kind, a, b))
        {
            foreach (PeerLink link in new[] { pair.LinkA, pair.LinkB }) Traffic.Grant(link, pool, 4 << 20);
            await Task.WhenAll(Traffic.Send(pair.LinkA, pool, 0, 60, 4 << 20), Traffic.Send(pair.LinkB, pool, 1000, 60, 4 << 20)).WaitAsync(_patience);
            Response response = await pair.LinkA.RequestAsync(new byte[] { 1, 2, 3 }, _patience);
            Assert.Equal([1, 2, 3], response.Body);
            Assert.Equal(kind, pair.LinkA.Connection!.Kind);
        }
        Assert.Empty(a.Wrong);
        Assert.Empty(b.Wrong);
        Assert.Equal(Enumerable.Range(0, 60).Select(i => (uint)i), b.Seen.Keys.Order());
        Assert.Equal(Enumerable.Range(1000, 60).Select(i => (uint)i), a.Seen.Keys.Order());
        Assert.All(a.Seen.Values.Concat(b.Seen.Values), count => Assert.Equal(1, count));
        Assert.Equal(CloseKind.Local, (await a.Closed).Kind);
        pool.Dispose();
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task OverIPv6_MessagesArriveWholeAndOnce(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        CheckingHandler a = new(), b = new();
        var pool = new PinnedPool(new SlotClass(64 << 10, 32), new SlotClass(1 << 20, 24));
        using (var pair = new LinkedPair(kind, a, b, at: System.Net.IPAddress.IPv6Loopback))
        {
            Traffic.Grant(pair.LinkB, pool, 1 << 20);
            await Traffic.Send(pair.LinkA, pool, 0, 20, 1 << 20).WaitAsync(_patience);
        }
        Assert.Empty(b.Wrong);
        Assert.Equal(Enumerable.Range(0, 20).Select(i => (uint)i), b.Seen.Keys.Order());
        pool.Dispose();
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task EndpointIsClosed_PeerLearnsItAtOnce(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        CheckingHandler a = new(), b = new();
        using var pair = new LinkedPair(kind, a, b);
        await Task.WhenAll(a.Opened, b.Opened).WaitAsync(_patience);
        pair.EndpointB.Dispose();
        Assert.Equal(CloseKind.Remote, (await a.Closed.WaitAsync(TimeSpan.FromSeconds(3))).Kind);
    }
}
