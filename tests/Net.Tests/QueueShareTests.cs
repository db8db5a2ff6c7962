// The ceiling for flows that share a queue, on a link that exists in numbers only: rate, delay and one queue, in steps of 1 ms.
// The flows are the worst case that BBR allows: each keeps a window of twice what it got lately, so that any division lasts.
using OrionNative.Net.Quic;

namespace OrionNative.Net.Tests;

public class QueueShareTests
{
    const ulong Millisecond = 1_000_000;

    sealed class Flow(double window)
    {
        QueueShare _share;

        public double Window = window, Rate, Delivered;

        public double InFlight => Math.Min(Window, _share.CeilingBytes);

        public ulong Ceiling => _share.CeilingBytes;

        public void Note(ulong now, double rttMs) => _share.Note(now, (ulong)(rttMs * Millisecond), (ulong)InFlight, (ulong)Window, (ulong)(Delivered + InFlight));
    }

    /// <summary>Both flows fill the link for so long; each gets what its part of the bytes in flight is.</summary>
    static void Run(double seconds, double bytesPerMs, double baseMs, Func<int, double> extraMs, params Flow[] flows)
    {
        for (int ms = 0; ms < seconds * 1000; ms++)
        {
            double total = flows.Sum(f => f.InFlight);
            double rtt = Math.Max(baseMs, total / bytesPerMs) + extraMs(ms);
            foreach (Flow flow in flows)
            {
                flow.Note((ulong)ms * Millisecond, ms < 20 ? baseMs : rtt);
                flow.Rate = flow.InFlight / rtt;
                flow.Delivered += flow.Rate;
                // BBR: twice the product of the best rate and the base, at most a quarter more than before a round trip
                double wanted = 2 * flow.Rate * baseMs;
                flow.Window += Math.Clamp(wanted - flow.Window, -flow.Window * 0.0005, flow.Window * 0.25 / rtt);
            }
        }
    }

    [Fact]
    public void TwoFlows_OneFiveTimesAsLarge_EndWithEqualShares()
    {
        Flow large = new(5e6), small = new(1e6);
        Run(20, 50e3, 60, _ => 0, large, small);
        double share = Math.Min(large.Rate, small.Rate) / (large.Rate + small.Rate);
        Assert.True(share >= 0.4, $"the worse flow has {share:0.000} of the link: {large.Rate:0} and {small.Rate:0} bytes per ms");
        Assert.True(large.Rate + small.Rate > 0.95 * 50e3, "the link must stay full");
    }

    [Fact]
    public void OneFlow_AloneOnALink_KeepsItFull()
    {
        var flow = new Flow(1e6);
        Run(20, 107e3, 60, _ => 0, flow);
        Assert.True(flow.Ceiling > 107e3 * 60, $"the ceiling is {flow.Ceiling}; the link holds {107e3 * 60}");
        Assert.True(flow.Rate > 0.99 * 107e3, $"{flow.Rate:0} bytes per ms");
    }

    [Theory]
    [InlineData(107e3, 30)] // 856 Mbit/s: delays that wander by 0.6 of the base, back and forth within 200 ms
    [InlineData(12.5e3, 60)]
    public void DelayWanders_WithoutAStandingQueue_IsNotLimited(double bytesPerMs, double baseMs)
    {
        var share = new QueueShare();
        for (int ms = 0; ms < 20_000; ms++)
        {
            double rtt = baseMs * (1 + (ms > 3000 ? 0.6 * Math.Abs((ms % 200 / 100.0) - 1) : 0));
            share.Note((ulong)ms * Millisecond, (ulong)(rtt * Millisecond), (ulong)(bytesPerMs * rtt), (ulong)(2 * bytesPerMs * baseMs), (ulong)(bytesPerMs * (ms + rtt)));
            Assert.True(share.CeilingBytes >= bytesPerMs * rtt, $"after {ms} ms {share.CeilingBytes} bytes are allowed; the path holds {bytesPerMs * rtt}");
        }
    }

    [Fact]
    public void PathGrowsLonger_FlowIsFreeAgainOnceGivingWayWasInVain()
    {
        var share = new QueueShare();
        ulong delivered = 0;
        // cut by at most 0.3 a round trip it takes 14 of them from 8 MB to the least, then those in vain, then it regains its window
        const ulong Free = 5_000 + (130 * (14 + QueueShare.VainRounds + 123 + 5));
        for (ulong ms = 0; ms < Free; ms++)
        {
            bool moved = ms > 5_000;
            ulong inFlight = Math.Min(8_000_000, share.CeilingBytes), rttMs = moved ? 130ul : 30;
            share.Note(ms * Millisecond, rttMs * Millisecond, inFlight, 8_000_000, (delivered += inFlight / rttMs) + inFlight);
            if (ms == 7_000) Assert.True(share.CeilingBytes < 2_000_000, $"100 ms more look like a queue at first; the ceiling is {share.CeilingBytes}");
        }
        Assert.True(share.CeilingBytes > 8_000_000, $"the ceiling still is {share.CeilingBytes}");
    }

    // A probe: the window grows by a quarter a round trip, to twice what the link holds, and 300 ms later falls back.
    [Fact]
    public void ProbeOfAFullLink_Queues_ForLittleMoreThanThePeak()
    {
        const double bytesPerMs = 12.5e3, baseMs = 60, holds = bytesPerMs * baseMs;
        var share = new QueueShare();
        double window = holds, inFlight = holds, longest = 0, delivered = 0;
        var sentRtt = new Queue<double>();
        for (int ms = 0; ms < 12_000; ms++)
        {
            int phase = ms % 2500;
            window = phase < 2000 ? holds : Math.Min(2 * holds, window * (1 + (0.25 / baseMs)));
            inFlight = Math.Min(window, share.CeilingBytes);
            double rtt = Math.Max(baseMs, inFlight / bytesPerMs);
            sentRtt.Enqueue(rtt); // a round trip is known when it is over
            double known = sentRtt.Count > baseMs ? sentRtt.Dequeue() : baseMs;
            delivered += inFlight / rtt;
            share.Note((ulong)ms * Millisecond, (ulong)(known * Millisecond), (ulong)inFlight, (ulong)(2 * holds), (ulong)(delivered + inFlight));
            longest = Math.Max(longest, rtt);
            Assert.True(phase >= 2000 || share.CeilingBytes >= holds, $"after {ms} ms {share.CeilingBytes} bytes are allowed; the link holds {holds}");
        }
        // known one round trip late, and the probe lasts 500 ms: fewer than nine rounds of creeping
        Assert.InRange(longest, QueueShare.QueueSeen * baseMs, (QueueShare.PeakOfBase * baseMs) + (9 * QueueShare.CreepBytes / bytesPerMs));
    }

    [Fact]
    public void HopelessQueue_WindowKeepsItsLeast()
    {
        var share = new QueueShare();
        for (ulong ms = 0; ms < 10_000; ms++) share.Note(ms * Millisecond, ms < 50 ? 10 * Millisecond : 2_000 * Millisecond, Math.Min(8_000_000, share.CeilingBytes), 8_000_000, ms * 1000 + 8_000_000);
        Assert.InRange(share.CeilingBytes, (ulong)QueueShare.LeastBytes, 4_000_000ul);
    }
}
