// What happens to each datagram of one direction, decided from a seed and the time it is told. No socket, no clock.
//   leaves at  = max(now, link free) + bits / rate            dropped if it would wait longer than the queue holds
//   arrives at = leaves at + delay + wander(t)                 wander: straight lines between a random point every 100 ms
// Loss is Gilbert-Elliott: in the bad state everything is lost; P(bad -> good) = 1/burst, P(good -> bad) keeps the mean.
// Invariant: without Reorder, arrival times never decrease. The same seed and the same offers give the same fates.
namespace OrionNative.Net.Links;

enum Fate { Pass, Late, Lost, Overflow, TooLong, Blackhole }

sealed class LinkShaper(int seed)
{
    const int HeaderBytes = 28;
    const long WanderEvery = 100_000_000;

    readonly Random _random = new(seed);
    long _freeAt, _lastArrival, _wanderFrom;
    double _wanderA, _wanderB = new Random(seed).NextDouble();
    bool _bad;

    /// <summary>The fate of a datagram of <paramref name="bytes"/> payload bytes that reaches the link at <paramref name="now"/>
    /// (nanoseconds): when it arrives, and when a second copy does (0: none).</summary>
    public Fate Offer(LinkConditions link, long now, int bytes, out long arrives, out long copyArrives)
    {
        (arrives, copyArrives) = (0, 0);
        if (link.Blackhole) return Fate.Blackhole;
        if (bytes + HeaderBytes > link.MtuBytes) return Fate.TooLong;
        long start = Math.Max(now, _freeAt);
        if (link.BitsPerSecond > 0)
        {
            if (start - now > Nanoseconds(link.Queue)) return Fate.Overflow;
            _freeAt = start + (long)((bytes + HeaderBytes) * 8e9 / link.BitsPerSecond);
            start = _freeAt;
        }
        if (link.Loss > 0 && IsLost(link)) return Fate.Lost; // after it used the link, as on a real one
        arrives = Math.Max(_lastArrival, start + Nanoseconds(link.Delay) + Wander(link, now));
        _lastArrival = arrives;
        if (link.Duplicate > 0 && _random.NextDouble() < link.Duplicate) copyArrives = arrives + (long)(_random.NextDouble() * Nanoseconds(link.ReorderBy));
        if (link.Reorder == 0 || _random.NextDouble() >= link.Reorder) return Fate.Pass;
        arrives += (long)(_random.NextDouble() * Nanoseconds(link.ReorderBy));
        return Fate.Late;
    }

    bool IsLost(LinkConditions link)
    {
        double leaveBad = 1 / Math.Max(1, link.LossBurst);
        double enterBad = Math.Min(1, link.Loss * leaveBad / Math.Max(1e-9, 1 - link.Loss));
        _bad = _bad ? _random.NextDouble() >= leaveBad : _random.NextDouble() < enterBad;
        return link.LossBurst <= 1 ? _random.NextDouble() < link.Loss : _bad;
    }

    long Wander(LinkConditions link, long now)
    {
        if (link.Jitter == TimeSpan.Zero) return 0;
        while (now >= _wanderFrom + WanderEvery)
        {
            (_wanderA, _wanderB) = (_wanderB, _random.NextDouble());
            _wanderFrom = now - _wanderFrom > 10 * WanderEvery ? now : _wanderFrom + WanderEvery;
        }
        double share = (double)(now - _wanderFrom) / WanderEvery;
        return (long)(Nanoseconds(link.Jitter) * (_wanderA + (share * (_wanderB - _wanderA))));
    }

    static long Nanoseconds(TimeSpan span) => span.Ticks * 100;
}
