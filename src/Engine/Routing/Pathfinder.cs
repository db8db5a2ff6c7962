// Stochastic pathfinding: which replica of the next stage gets this microbatch. For candidate j
//   T_j = rtt_j + bytes/bandwidth_j + s_j * (1 + n_j)       expected time until j hands it on, in seconds
//   F_j = rtt_j + bytes/bandwidth_j + s_j * (1 + u_j) + o_j expected time until j is done with it, its backward included
//   w_j = T_j^-gamma * 2^-failures_j(t)                     failures fade by half every FailureHalfLife
//   p_j = (1 - floor) * w_j / sum(w) + floor / count
// s_j: service time of one microbatch at j; n_j: microbatches that wait there before ours, the larger of what j last told
// (drained since at its own rate, plus what we sent since) and what we still have there; u_j: sent and not answered; o_j: compute
// that j owes for what it has accepted. Left out: the suspected, the full, a second microbatch for the unmeasured, and those not worth it,
//   F_j > max(min F, H)       H: when the stage is done with all that is left of the step if its replicas share it by their speed
// full ones included: better to wait than to feed a straggler at a step's end. A straggler (s_j > StragglerFactor * min s) has room
// for few; the stage's senders take turns at it, lest all of them give it "its one". Where the rest of the step is not known the
// rule is T_j > WorthWaiting * min(T). The floor keeps estimates fresh. No allocation after SetCandidates.
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

    /// <summary>A candidate slower than this multiple of the fastest one is a straggler.</summary>
    public double StragglerFactor { get; init; } = 2;

    /// <summary>How long a sender keeps its turn at a straggler if it has nothing to send.</summary>
    public TimeSpan TurnLasts { get; init; } = TimeSpan.FromSeconds(0.5);

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
        public double OwedSeconds;
        public Instant ToldAt;
        public int FreeSlots;
        public int Accepted;
        public int Unanswered;
        public int Outstanding;
        public bool IsSuspected;
    }

    const double SmallestWeight = 1e-300;

    readonly Dictionary<PeerId, int> _index = [];
    Candidate[] _candidates = [];
    double[] _weights = [];
    double[] _seconds = [];
    double[] _finish = [];
    SeededRandom _random = new(seed);
    Instant _stepBeganAt;
    int _rank;
    int _senderCount = 1;

    public int Count => _candidates.Length;

    /// <summary>Who holds the next stage now. What is known of those that stay is kept.</summary>
    public void SetCandidates(ReadOnlySpan<PeerId> peers)
    {
        var next = new Candidate[peers.Length];
        for (int i = 0; i < peers.Length; i++)
        {
            next[i] = _index.TryGetValue(peers[i], out int known)
                ? _candidates[known]
                : new Candidate { Peer = peers[i], BytesPerSecond = settings.FirstBandwidth, FreeSlots = int.MaxValue };
        }
        _candidates = next;
        _weights = new double[next.Length];
        _seconds = new double[next.Length];
        _finish = new double[next.Length];
        _index.Clear();
        for (int i = 0; i < next.Length; i++)
            _index.Add(next[i].Peer, i);
    }

    /// <summary>Who sends to the same candidates: this is sender <paramref name="rank"/> of <paramref name="count"/>.</summary>
    public void SetSenders(int rank, int count) => (_rank, _senderCount) = (rank, Math.Max(1, count));

    /// <summary>A step begins: nobody has accepted anything of it.</summary>
    public void BeginStep(Instant now)
    {
        _stepBeganAt = now;
        foreach (ref Candidate candidate in _candidates.AsSpan())
            (candidate.Accepted, candidate.Unanswered, candidate.Outstanding, candidate.OwedSeconds) = (0, 0, 0, 0);
    }

    /// <summary>Chooses the next hop for a payload, or none if every candidate is suspected, excluded, full or not worth it.</summary>
    /// <param name="stepMicrobatches">What the next stage has to do in this step, in all; 0: not known.</param>
    public bool TryPick(long payloadBytes, int stepMicrobatches, ReadOnlySpan<PeerId> excluded, Instant now, out PeerId peer)
    {
        double soonest = double.PositiveInfinity, soonestFinish = double.PositiveInfinity;
        for (int i = 0; i < _candidates.Length; i++)
        {
            _seconds[i] = ExpectedSeconds(ref _candidates[i], payloadBytes, now);
            _finish[i] = FinishSeconds(ref _candidates[i], payloadBytes, now);
            if (_candidates[i].IsSuspected)
                continue;
            soonest = Math.Min(soonest, _seconds[i]);
            soonestFinish = Math.Min(soonestFinish, _finish[i]);
        }
        double horizon = stepMicrobatches > 0 ? Math.Max(soonestFinish, Horizon(stepMicrobatches)) : double.PositiveInfinity;
        double patience = stepMicrobatches > 0 ? double.PositiveInfinity : settings.WorthWaiting * soonest;
        double straggling = settings.StragglerFactor * FastestService();
        double sum = 0;
        int usable = 0;
        for (int i = 0; i < _candidates.Length; i++)
        {
            ref Candidate candidate = ref _candidates[i];
            bool skip = candidate.IsSuspected || IsFull(candidate, stepMicrobatches > 0) || _seconds[i] > patience || _finish[i] > horizon
                || ServiceOf(candidate) > straggling && !IsMyTurn(candidate, horizon - _finish[i], now) || excluded.Contains(candidate.Peer);
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

    /// <summary>The expected time in seconds until <paramref name="peer"/> would be done with a payload, its backward included.</summary>
    public double FinishSeconds(PeerId peer, long payloadBytes, Instant now) =>
        _index.TryGetValue(peer, out int i) ? FinishSeconds(ref _candidates[i], payloadBytes, now) : 0;

    double Weight(ref Candidate candidate, double seconds, Instant now)
    {
        double failures = candidate.Failures * Fade(now - candidate.FailuresAt);
        double weight = Math.Pow(seconds, -settings.Gamma);
        return Math.Max(weight * Math.Pow(2, -failures), SmallestWeight);
    }

    double ExpectedSeconds(ref Candidate candidate, long payloadBytes, Instant now)
    {
        double service = ServiceOf(candidate);
        double drained = (now - candidate.ToldAt).TotalSeconds / service;
        double told = Math.Max(0, candidate.ToldQueue - drained) + candidate.Unanswered;
        double ahead = Math.Max(told, candidate.Outstanding);
        return 1e-6 + candidate.RoundTripSeconds + payloadBytes / candidate.BytesPerSecond + service * (1 + ahead);
    }

    double FinishSeconds(ref Candidate candidate, long payloadBytes, Instant now)
    {
        double service = ServiceOf(candidate);
        double owed = Math.Max(0, candidate.OwedSeconds - (now - candidate.ToldAt).TotalSeconds);
        return 1e-6 + candidate.RoundTripSeconds + payloadBytes / candidate.BytesPerSecond + owed + service * (1 + candidate.Unanswered);
    }

    // Water-filling: the time H at which all replicas end together, sum over j of (H - b_j) / s_j = rest, b_j = F_j - s_j being the
    // time until j could begin; who could not begin before H takes no part.
    double Horizon(int stepMicrobatches)
    {
        int rest = stepMicrobatches;
        foreach (ref readonly Candidate candidate in _candidates.AsSpan())
            rest -= candidate.Accepted + candidate.Unanswered;
        double horizon = double.PositiveInfinity;
        while (true)
        {
            double work = Math.Max(1, rest), rate = 0;
            for (int i = 0; i < _candidates.Length; i++)
            {
                double service = ServiceOf(_candidates[i]);
                double begin = _finish[i] - service;
                if (_candidates[i].IsSuspected || begin >= horizon)
                    continue;
                work += begin / service;
                rate += 1 / service;
            }
            double next = rate > 0 ? work / rate : double.PositiveInfinity;
            if (next >= horizon)
                return next;
            horizon = next;
        }
    }

    // Room for n more: the first n senders in turn. Every microbatch that it accepts and every TurnLasts passes the turn on.
    bool IsMyTurn(in Candidate candidate, double slackSeconds, Instant now)
    {
        if (double.IsPositiveInfinity(slackSeconds))
            return true;
        long passed = candidate.Accepted + (now - _stepBeganAt).Ticks / settings.TurnLasts.Ticks;
        long place = (_rank + _senderCount - passed % _senderCount) % _senderCount;
        return slackSeconds >= place * ServiceOf(candidate);
    }

    double ServiceOf(in Candidate candidate) => candidate.ServiceSeconds > 0 ? candidate.ServiceSeconds : MeanService();

    double FastestService()
    {
        double fastest = double.PositiveInfinity;
        foreach (ref readonly Candidate candidate in _candidates.AsSpan())
            fastest = candidate.IsSuspected ? fastest : Math.Min(fastest, ServiceOf(candidate));
        return fastest;
    }

    // Free slots are told to all senders alike. Who has several on a slow link's way to them counts on its part only: what meets no
    // slot has travelled in vain.
    static bool IsTaken(in Candidate candidate, int senders) =>
        candidate.FreeSlots <= (candidate.Unanswered < 2 ? candidate.Unanswered : (long)candidate.Unanswered * senders);

    // Nobody knows how slow an unmeasured one is: it gets a first microbatch, where there is a choice, and has to show.
    bool IsFull(in Candidate candidate, bool isCareful) =>
        IsTaken(candidate, _senderCount)
        || isCareful && candidate.ServiceSeconds == 0 && _candidates.Length > 1 && candidate.ToldQueue + candidate.Unanswered > 0;

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

    /// <summary>A microbatch is on its way to the peer, or a question after one that it has.</summary>
    public void HandleSent(PeerId peer, bool isNew = true)
    {
        if (!_index.TryGetValue(peer, out int i))
            return;
        _candidates[i].Outstanding += isNew ? 1 : 0;
        _candidates[i].Unanswered++;
    }

    /// <summary>The peer has spoken of one that was on its way; what it tells of its load from now on includes it.</summary>
    public void HandleAnswered(PeerId peer)
    {
        if (_index.TryGetValue(peer, out int i) && _candidates[i].Unanswered > 0)
            _candidates[i].Unanswered--;
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
            _candidates[i].FreeSlots = 0;
    }

    /// <summary>The peer told its own load and speed.</summary>
    public void HandleStatus(PeerId peer, in PeerLoad load, Instant now)
    {
        if (!_index.TryGetValue(peer, out int i))
            return;
        ref Candidate candidate = ref _candidates[i];
        candidate.ToldQueue = load.Queued;
        candidate.ToldAt = now;
        candidate.FreeSlots = load.FreeSlots;
        candidate.Accepted = load.Accepted;
        candidate.OwedSeconds = load.OwedNanoseconds / 1e9;
        double service = load.ServiceNanoseconds / 1e9;
        if (service < candidate.ServiceSeconds / 2)
            candidate.ServiceSeconds = service;   // zero: it does not know its speed any more
        else
            Average(ref candidate.ServiceSeconds, service);
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
            (_candidates[i].Outstanding, _candidates[i].Unanswered) = (0, 0);
    }

    void Average(ref double mean, double sample) =>
        mean = mean == 0 ? sample : mean + settings.Smoothing * (sample - mean);
}
