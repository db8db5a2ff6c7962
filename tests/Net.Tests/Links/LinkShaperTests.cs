// The pure part of the link emulation, under a clock that the test moves: rate, delay, order, chance.
using OrionNative.Net.Links;

namespace OrionNative.Net.Tests.Links;

public class LinkShaperTests
{
    const int Bytes = 1472;
    const long Millisecond = 1_000_000;

    [Fact]
    public void SteadyOffers_AboveTheRate_LeaveAtTheRate()
    {
        var link = new LinkConditions { BitsPerSecond = 100e6, Delay = TimeSpan.FromMilliseconds(10), Queue = TimeSpan.FromMilliseconds(20) };
        var shaper = new LinkShaper(1);
        long last = 0, passed = 0, overflowed = 0;
        for (long now = 0; now < 1000 * Millisecond; now += 60_000) // twice the rate: 1500 bytes every 60 us
        {
            Fate fate = shaper.Offer(link, now, Bytes, out long arrives, out _);
            if (fate == Fate.Overflow)
            {
                overflowed++;
                continue;
            }
            passed++;
            Assert.Equal(Fate.Pass, fate);
            Assert.InRange(arrives - now, 10 * Millisecond, 31 * Millisecond); // delay, at most a full queue, one transmission
            last = arrives;
        }
        // 1 s of sending plus a queue of 20 ms, at 1500 bytes of 8 bits on 100 Mbit/s
        Assert.InRange(passed, 8333, 8333 + 170);
        Assert.True(overflowed > 8000);
        Assert.InRange(last, 1000 * Millisecond, 1031 * Millisecond);
    }

    [Theory]
    [InlineData(0.01, 1)]
    [InlineData(0.01, 5)]
    [InlineData(0.2, 1)]
    [InlineData(0.2, 3)]
    public void Loss_HasItsMeanAndItsBursts(double loss, double burst)
    {
        const int offers = 200_000;
        var link = new LinkConditions { Loss = loss, LossBurst = burst };
        var shaper = new LinkShaper(7);
        int lost = 0, bursts = 0;
        bool before = false;
        for (int i = 0; i < offers; i++)
        {
            bool now = shaper.Offer(link, i, Bytes, out _, out _) == Fate.Lost;
            lost += now ? 1 : 0;
            bursts += now && !before ? 1 : 0;
            before = now;
        }
        // bursts come at random, each of about `burst` datagrams: 5 standard deviations of their number
        double expected = loss * offers, spread = 5 * Math.Sqrt(expected * 2 * burst);
        Assert.InRange(lost, expected - spread, expected + spread);
        double mean = burst == 1 ? 1 / (1 - loss) : burst;
        Assert.InRange((double)lost / bursts, 0.85 * mean, 1.15 * mean);
    }

    [Fact]
    public void Jitter_WithoutReorder_KeepsOrderAndStaysInItsRange()
    {
        var link = new LinkConditions { Delay = TimeSpan.FromMilliseconds(15), Jitter = TimeSpan.FromMilliseconds(15) };
        var shaper = new LinkShaper(3);
        long last = 0, least = long.MaxValue, most = 0;
        for (long now = 0; now < 20_000 * Millisecond; now += Millisecond)
        {
            Assert.Equal(Fate.Pass, shaper.Offer(link, now, Bytes, out long arrives, out _));
            Assert.True(arrives >= last);
            (last, least, most) = (arrives, Math.Min(least, arrives - now), Math.Max(most, arrives - now));
        }
        Assert.InRange(least, 15 * Millisecond, 18 * Millisecond);
        Assert.InRange(most, 27 * Millisecond, 30 * Millisecond);
    }

    [Fact]
    public void ReorderAndDuplicate_HappenAsOften()
    {
        var link = new LinkConditions { Reorder = 0.1, Duplicate = 0.05, Delay = TimeSpan.FromMilliseconds(1) };
        var shaper = new LinkShaper(9);
        int late = 0, twice = 0;
        for (int i = 0; i < 100_000; i++)
        {
            if (shaper.Offer(link, i * 1000L, Bytes, out _, out long copy) == Fate.Late) late++;
            if (copy > 0) twice++;
        }
        Assert.InRange(late, 10_000 - 475, 10_000 + 475); // 5 standard deviations: sqrt(n p (1 - p))
        Assert.InRange(twice, 5_000 - 345, 5_000 + 345);
    }

    [Fact]
    public void SameSeed_SameOffers_SameFates()
    {
        LinkConditions link = LinkProfile.Named["lossy"].Profile.Up;
        LinkShaper a = new(5), b = new(5), other = new(6);
        int differs = 0;
        for (int i = 0; i < 20_000; i++)
        {
            Fate fate = a.Offer(link, i * 100_000L, Bytes, out long arrives, out long copy);
            Assert.Equal((fate, arrives, copy), (b.Offer(link, i * 100_000L, Bytes, out long arrivesB, out long copyB), arrivesB, copyB));
            if (other.Offer(link, i * 100_000L, Bytes, out _, out _) != fate) differs++;
        }
        Assert.True(differs > 100);
    }

    [Fact]
    public void TooLongOrBlackholed_NothingPasses()
    {
        var shaper = new LinkShaper(1);
        Assert.Equal(Fate.TooLong, shaper.Offer(new LinkConditions { MtuBytes = 1500 }, 0, 1473, out _, out _));
        Assert.Equal(Fate.Pass, shaper.Offer(new LinkConditions { MtuBytes = 1500 }, 0, 1472, out _, out _));
        Assert.Equal(Fate.Blackhole, shaper.Offer(new LinkConditions { Blackhole = true }, 0, 10, out _, out _));
    }
}
