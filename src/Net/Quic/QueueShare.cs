// A ceiling on the bytes in flight above BBR's own window, so that flows that share a queue end up with equal shares of it.
// BBR's window is a multiple of the rate that a flow gets, so any division of a link keeps itself up: a late comer stays small.
// Here a flow gives way when the queue is longer than a time that shrinks with its window, as in Swift (SIGCOMM 2020, 3.5):
//   allowed = base * sqrt(W0 / window)        queue > allowed: window *= 1 - 0.8 (queue - allowed) / queue, else window += step
// All flows of one queue see the same delay, so the large one gives way first, and only equal windows are at rest together.
// The queue is the least round trip of the last 400 to 600 ms over the least of the last 15 to 30 s: jitter and loss do not count.
// That is too slow for BBR's probes, which fill a queue within three round trips, so while the round trip is long there also is
//   bytes in flight <= max(1.8 * base * best rate delivered in a round, what was in flight a round ago + creep)
// so that nobody waits for much more than 0.8 * base; the second term, equal for all, keeps small flows from being held small.
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

    /// <summary>Base round trips of the best rate that may be in flight while a queue is seen.</summary>
    public const double PeakOfBase = 1.8;

    /// <summary>What bytes in flight may grow by per round trip beyond that.</summary>
    public const double CreepBytes = 32768;

    /// <summary>So many round trips after its first load a flow is free of that bound, or it would never get its share.</summary>
    public const int FreeRounds = 15;

    /// <summary>A queue is seen when the last round trip is longer than this many base round trips.</summary>
    public const double QueueSeen = 1.25;

    /// <summary>So many round trips with a window of at most <see cref="VainBytes"/>, and a queue that is still there is not one
    /// that giving way could shorten: the path has become longer, and what it takes now is the base.</summary>
    public const int VainRounds = 8;

    public const double VainBytes = 3 * LeastBytes;

    const double Eagerness = 0.8, CutMost = 0.3;
    const ulong BaseLifeNanoseconds = 15_000_000_000, StandNanoseconds = 200_000_000;

    double _ceiling, _peak, _rate, _nextRate;
    int _rounds, _vainRounds;
    ulong _deliveredBefore, _flightBefore, _roundBegan;
    ulong _roundEnds, _most, _roundLeast;
    ulong _standEnds, _least, _leastBefore, _leastTwoBefore;
    ulong _baseEnds, _base, _nextBase;

    /// <summary>Bytes that may be in flight.</summary>
    public readonly ulong CeilingBytes => Math.Min(_ceiling == 0 ? ulong.MaxValue : (ulong)_ceiling, _peak == 0 ? ulong.MaxValue : (ulong)_peak);

    /// <summary>What is measured now: the last round trip, the bytes in flight, the window that congestion control allows, and
    /// all bytes sent so far that were not lost.</summary>
    public void Note(ulong now, ulong rttNanoseconds, ulong inFlightBytes, ulong windowBytes, ulong sentBytes)
    {
        if (rttNanoseconds == 0) return;
        if (_baseEnds == 0) _nextBase = _least = _leastBefore = _roundLeast = rttNanoseconds;
        if (now >= _baseEnds) (_base, _nextBase, _rate, _nextRate, _baseEnds) = (_nextBase, rttNanoseconds, _nextRate, 0, now + BaseLifeNanoseconds);
        if (now >= _standEnds) (_leastTwoBefore, _leastBefore, _least, _standEnds) = (_leastBefore, _least, rttNanoseconds, now + StandNanoseconds);
        _base = Math.Min(_base, rttNanoseconds);
        _nextBase = Math.Min(_nextBase, rttNanoseconds);
        _least = Math.Min(_least, rttNanoseconds);
        _roundLeast = Math.Min(_roundLeast, rttNanoseconds);
        _most = Math.Max(_most, inFlightBytes);
        double round = Math.Max(_base, BaseLeastNanoseconds);
        bool isBound = rttNanoseconds > QueueSeen * round && _rounds >= FreeRounds;
        _peak = isBound ? Math.Max(_flightBefore + CreepBytes, PeakOfBase * round * _rate) : 0;
        if (now < _roundEnds) return;
        MeasureRate(now, sentBytes - Math.Min(sentBytes, inFlightBytes));
        EndRound(windowBytes);
        (_flightBefore, _most, _roundLeast, _roundEnds) = (inFlightBytes, inFlightBytes, rttNanoseconds, now + rttNanoseconds);
    }

    // In bytes per nanosecond, over one round: what has left and is not on its way any more.
    void MeasureRate(ulong now, ulong delivered)
    {
        if (_roundBegan > 0 && delivered > _deliveredBefore)
        {
            double rate = (double)(delivered - _deliveredBefore) / (now - _roundBegan);
            (_rate, _nextRate) = (Math.Max(_rate, rate), Math.Max(_nextRate, rate));
        }
        (_deliveredBefore, _roundBegan) = (delivered, now);
    }

    void EndRound(ulong windowBytes)
    {
        double window = Math.Max(LeastBytes, Math.Min(CeilingBytes, _most)), round = Math.Max(_base, BaseLeastNanoseconds);
        double allowed = round * Math.Sqrt(WindowOfOneRoundTrip / window);
        ulong stands = Math.Min(Math.Min(_least, _leastBefore), _leastTwoBefore);
        double queue = stands - _base;
        if (_rounds < YoungRounds) (queue, allowed) = (_roundLeast - _base, Math.Min(allowed, YoungQueue * round));
        if (_most > LeastBytes && _rounds < YoungRounds) _rounds++;
        if (queue > allowed) _ceiling = Math.Max(LeastBytes, window * (1 - Math.Min(CutMost, Eagerness * (queue - allowed) / queue)));
        else if (_ceiling > 0) _ceiling += StepBytes;
        _vainRounds = _ceiling is > 0 and <= VainBytes && queue > 0.5 * allowed ? _vainRounds + 1 : 0;
        if (_vainRounds == VainRounds) (_base, _nextBase, _vainRounds) = (stands, stands, 0);
        if (_ceiling > 2.0 * windowBytes) _ceiling = 0; // it binds nothing any more
    }
}
