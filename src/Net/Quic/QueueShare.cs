// A ceiling on the bytes in flight above BBR's own window, so that flows that share a queue end up with equal shares of it.
// BBR's window is a multiple of the rate that a flow gets, so any division of a link keeps itself up: a late comer stays small.
// Here a flow gives way when the queue is longer than a time that shrinks with its window, as in Swift (SIGCOMM 2020, 3.5):
//   allowed = base * sqrt(W0 / window)        queue > allowed: window *= 1 - 0.8 (queue - allowed) / queue, else window += step
// All flows of one queue see the same delay, so the large one gives way first, and only equal windows are at rest together.
// The queue is the least round trip of the last 200 to 300 ms over the least of the last 15 to 30 s: jitter and loss do not count.
namespace OrionNative.Net.Quic;

struct QueueShare
{
    /// <summary>A window of this size may queue for a whole base round trip, one nine times as large for a third of it.</summary>
    public const double WindowOfOneRoundTrip = 800e3;

    /// <summary>What a window regains per round trip.</summary>
    public const double StepBytes = 65536;

    /// <summary>No window is pushed below this: it would not keep a slow link busy between two acknowledgements.</summary>
    public const double LeastBytes = 65536;

    /// <summary>Shorter base round trips (loopback, a local network) count as this: their noise is the scheduler's.</summary>
    public const ulong BaseLeastNanoseconds = 10_000_000;

    /// <summary>So many round trips after its first load a flow goes by the last round trip alone and queues for at most
    /// <see cref="YoungQueue"/> of the base. BBR takes an overflow at its start for the size of the link.</summary>
    public const int YoungRounds = 30;

    public const double YoungQueue = 0.6;

    const double Eagerness = 0.8, CutMost = 0.3;
    const ulong BaseLifeNanoseconds = 15_000_000_000, StandNanoseconds = 100_000_000;

    double _ceiling;
    int _rounds;
    ulong _roundEnds, _most, _roundLeast;
    ulong _standEnds, _least, _leastBefore, _leastTwoBefore;
    ulong _baseEnds, _base, _nextBase;

    /// <summary>Bytes that may be in flight.</summary>
    public readonly ulong CeilingBytes => _ceiling == 0 ? ulong.MaxValue : (ulong)_ceiling;

    /// <summary>What is measured now: the last round trip, the bytes in flight, and the window that congestion control allows.</summary>
    public void Note(ulong now, ulong rttNanoseconds, ulong inFlightBytes, ulong windowBytes)
    {
        if (rttNanoseconds == 0) return;
        if (_baseEnds == 0) _nextBase = _least = _leastBefore = _roundLeast = rttNanoseconds;
        if (now >= _baseEnds) (_base, _nextBase, _baseEnds) = (_nextBase, rttNanoseconds, now + BaseLifeNanoseconds);
        if (now >= _standEnds) (_leastTwoBefore, _leastBefore, _least, _standEnds) = (_leastBefore, _least, rttNanoseconds, now + StandNanoseconds);
        _base = Math.Min(_base, rttNanoseconds);
        _nextBase = Math.Min(_nextBase, rttNanoseconds);
        _least = Math.Min(_least, rttNanoseconds);
        _roundLeast = Math.Min(_roundLeast, rttNanoseconds);
        _most = Math.Max(_most, inFlightBytes);
        if (now < _roundEnds) return;
        EndRound(windowBytes);
        (_most, _roundLeast, _roundEnds) = (inFlightBytes, rttNanoseconds, now + rttNanoseconds);
    }

    void EndRound(ulong windowBytes)
    {
        double window = Math.Max(LeastBytes, Math.Min(CeilingBytes, _most)), round = Math.Max(_base, BaseLeastNanoseconds);
        double allowed = round * Math.Sqrt(WindowOfOneRoundTrip / window);
        double queue = Math.Min(Math.Min(_least, _leastBefore), _leastTwoBefore) - _base;
        if (_rounds < YoungRounds) (queue, allowed) = (_roundLeast - _base, Math.Min(allowed, YoungQueue * round));
        if (_most > LeastBytes && _rounds < YoungRounds) _rounds++;
        if (queue > allowed) _ceiling = Math.Max(LeastBytes, window * (1 - Math.Min(CutMost, Eagerness * (queue - allowed) / queue)));
        else if (_ceiling > 0) _ceiling += StepBytes;
        if (_ceiling > 2.0 * windowBytes) _ceiling = 0; // it binds nothing any more
    }
}
