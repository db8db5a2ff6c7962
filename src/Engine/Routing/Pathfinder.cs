// Stochastic pathfinding: which replica of the next stage gets this microbatch. For candidate j
//   T_j = rtt_j + bytes/bandwidth_j + s_j * (1 + n_j)       expected time until j hands it on, in seconds
//   w_j = T_j^-gamma * 2^-failures_j(t)                     failures fade by half every FailureHalfLife
//   p_j = (1 - floor) * w_j / sum(w) + floor / count
// s_j: service time of one microbatch at j, an average of what j did for us or told; n_j: work ahead of ours there, the
// larger of what j last told (drained since at its own rate, plus what we sent since) and what we still have there.
// Left out: the suspected, the full, and those with T_j > WorthWaiting * min(T), full ones included: better to wait than to
// feed a straggler at a step's end. The floor keeps estimates fresh. No allocation after SetCandidates.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Routing;

/// <summary>What shapes the choice; how the defaults were measured: docs/decisions/0045.</summary>
sealed record PathfinderSettings
{
    /// <summary>How sharply the faster candidate wins; 0 is uniform, large is greedy.</summary>
    public double Gamma { get; init; } = 2;

    /// <summary>The share of choices that is uniform over all candidates.</summary>
    public double Floor { get; init; } = 0.02;

    /// <summary>A candidate slower than this multiple of the soonest one, full or not, is not worth it: better wait.</summary>
    public double WorthWaiting { get; init; } = 2;

    /// <summary>Weight of a new sample in the averages of service time, round trip and bandwidth.</summary>
    public double Smoothing { get; init; } = 0.2;

    public TimeSpan FailureHalfLife { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Service time of a candidate that nobody has measured, until the others' mean is known.</summary>
    public TimeSpan FirstService { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Bandwidth of a link that nobody has measured, bytes per second.</summary>
    public double FirstBandwidth { get; init; } = 50e6;
}

sealed class Pathfinder(PathfinderSettings settings, ulong seed)
{
    struct Candidate
    {
        public PeerId Peer;
        public double ServiceSeconds;
        public double RoundTripSeconds;
        public double BytesPerSecond;
        public double Failures;
        public Instant FailuresAt;
        public double ToldQueue;
        public Instant ToldAt;
        public int SentSinceTold;
        public int Outstanding;
        public bool IsFull;
        public bool IsSuspected;
    }

    const double SmallestWeight = 1e-300;

    readonly Dictionary<PeerId, int> _index = [];
    Candidate[] _candidates = [];
    double[] _weights = [];
    double[] _seconds = [];
    SeededRandom _random = new(seed);

    public int Count => _candidates.Length;

    public PeerId PeerAt(int index) => _candidates[index].Peer;

    /// <summary>Who holds the next stage now. What is known of those that stay is kept.</summary>
    public void SetCandidates(ReadOnlySpan<PeerId> peers)
    {
        var next = new Candidate[peers.Length];
        for (int i = 0; i < peers.Length; i++)
        {
            next[i] = _index.TryGetValue(peers[i], out int known)
                ? _candidates[known]
                : new Candidate { Peer = peers[i], BytesPerSecond = settings.FirstBandwidth };
        }
        _candidates = next;
        _weights = new double[next.Length];
        _seconds = new double[next.Length];
        _index.Clear();
        for (int i = 0; i < next.Length; i++)
            _index.Add(next[i].Peer, i);
    }

    /// <summary>Chooses the next hop for a payload, or none if every candidate is suspected, excluded or full.</summary>
    public bool TryPick(long payloadBytes, ReadOnlySpan<PeerId> excluded, Instant now, out PeerId peer)
    {
        double soonest = double.PositiveInfinity;
        for (int i = 0; i < _candidates.Length; i++)
        {
            _seconds[i] = ExpectedSeconds(ref _candidates[i], payloadBytes, now);
            if (!_candidates[i].IsSuspected)
                soonest = Math.Min(soonest, _seconds[i]);
        }
        double sum = 0;
        int usable = 0;
        for (int i = 0; i < _candidates.Length; i++)
        {
            ref Candidate candidate = ref _candidates[i];
            bool skip = candidate.IsSuspected || candidate.IsFull || _seconds[i] > settings.WorthWaiting * soonest || excluded.Contains(candidate.Peer);
            _weights[i] = skip ? 0 : Weight(ref candidate, _seconds[i], now);
            sum += _weights[i];
            usable += skip ? 0 : 1;
        }
        peer = PeerId.None;
        if (usable == 0)
            return false;
        double point = _random.NextUnit();
        for (int i = 0; i < _candidates.Length; i++)
        {
            if (_weights[i] == 0)
                continue;
            peer = _candidates[i].Peer;
            point -= (1 - settings.Floor) * _weights[i] / sum + settings.Floor / usable;
            if (point < 0)
                break;
        }
        return true;
    }

    /// <summary>The expected time in seconds until <paramref name="peer"/> would hand a payload on.</summary>
    public double ExpectedSeconds(PeerId peer, long payloadBytes, Instant now) =>
        ExpectedSeconds(ref _candidates[_index[peer]], payloadBytes, now);

    double Weight(ref Candidate candidate, double seconds, Instant now)
    {
        double failures = candidate.Failures * Fade(now - candidate.FailuresAt);
        double weight = Math.Pow(seconds, -settings.Gamma);
        return Math.Max(weight * Math.Pow(2, -failures), SmallestWeight);
    }

    double ExpectedSeconds(ref Candidate candidate, long payloadBytes, Instant now)
    {
        double service = candidate.ServiceSeconds > 0 ? candidate.ServiceSeconds : MeanService();
        double drained = (now - candidate.ToldAt).TotalSeconds / service;
        double told = Math.Max(0, candidate.ToldQueue - drained) + candidate.SentSinceTold;
        double ahead = Math.Max(told, candidate.Outstanding);
        return 1e-6 + candidate.RoundTripSeconds + payloadBytes / candidate.BytesPerSecond + service * (1 + ahead);
    }

    double MeanService()
    {
        double sum = 0;
        int count = 0;
        foreach (ref readonly Candidate candidate in _candidates.AsSpan())
        {
            sum += candidate.ServiceSeconds;
            count += candidate.ServiceSeconds > 0 ? 1 : 0;
        }
        return count > 0 ? sum / count : settings.FirstService.TotalSeconds;
    }

    double Fade(TimeSpan age) => Math.Pow(2, -age / settings.FailureHalfLife);

    /// <summary>A microbatch is on its way to the peer.</summary>
    public void HandleSent(PeerId peer)
    {
        if (!_index.TryGetValue(peer, out int i))
            return;
        _candidates[i].Outstanding++;
        _candidates[i].SentSinceTold++;
    }

    /// <summary>One of ours left the peer, finished or taken back.</summary>
    public void HandleSettled(PeerId peer)
    {
        if (_index.TryGetValue(peer, out int i) && _candidates[i].Outstanding > 0)
            _candidates[i].Outstanding--;
    }

    /// <summary>The peer has no slot; it is left out until it tells of a free one.</summary>
    public void HandleBusy(PeerId peer)
    {
        if (_index.TryGetValue(peer, out int i))
            _candidates[i].IsFull = true;
    }

    /// <summary>The peer told its own load and speed.</summary>
    public void HandleStatus(PeerId peer, int queued, int freeSlots, TimeSpan service, Instant now)
    {
        if (!_index.TryGetValue(peer, out int i))
            return;
        ref Candidate candidate = ref _candidates[i];
        candidate.ToldQueue = queued;
        candidate.ToldAt = now;
        candidate.SentSinceTold = 0;
        candidate.IsFull = freeSlots == 0;
        if (service > TimeSpan.Zero)
            Average(ref candidate.ServiceSeconds, service.TotalSeconds);
    }

    public void HandleRoundTrip(PeerId peer, TimeSpan roundTrip)
    {
        if (_index.TryGetValue(peer, out int i))
            Average(ref _candidates[i].RoundTripSeconds, roundTrip.TotalSeconds);
    }

    public void HandleTransfer(PeerId peer, long bytes, TimeSpan elapsed)
    {
        if (elapsed > TimeSpan.Zero && _index.TryGetValue(peer, out int i))
            Average(ref _candidates[i].BytesPerSecond, bytes / elapsed.TotalSeconds);
    }

    /// <summary>A connection broke, an answer stayed out, or work was lost there.</summary>
    public void HandleFailed(PeerId peer, Instant now)
    {
        if (!_index.TryGetValue(peer, out int i))
            return;
        ref Candidate candidate = ref _candidates[i];
        candidate.Failures = candidate.Failures * Fade(now - candidate.FailuresAt) + 1;
        candidate.FailuresAt = now;
    }

    /// <summary>A suspected peer gets nothing until it shows life.</summary>
    public void SetSuspected(PeerId peer, bool suspected)
    {
        if (!_index.TryGetValue(peer, out int i))
            return;
        _candidates[i].IsSuspected = suspected;
        if (suspected)
            _candidates[i].Outstanding = 0;
    }

    void Average(ref double mean, double sample) =>
        mean = mean == 0 ? sample : mean + settings.Smoothing * (sample - mean);
}
