// The 96-peer routing benchmark, rebuilt from its public description (reference: the "iota simulator" competition).
// 96 peers over 3 to 8 layers; 5 epochs of 500 finished activations, each followed by a 30 s merge; cache 5 (forward done,
// backward to come); backward before forward; a full cache stalls forwards; 60 s in one layer drops the activation, which
// is then issued again; peers are 75/15/10 % reliable/semi/unreliable, drop out, rejoin, and drift in speed each epoch.
// Every sender sees broadcasts 5 s old and its own sends; queues and bandwidth are hidden from it in between.
// The one score is the total virtual time. What the description leaves open is written as constants here.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

readonly record struct RoutingOutcome(double TotalSeconds, int Layers, int Drops, int Failures);

sealed class RoutingBenchmark
{
    const int PeerCount = 96;
    const int EpochCount = 5;
    const int ActivationsPerEpoch = 500;
    const int CacheSize = 5;
    const long PayloadBytes = 2_304_000;
    const double LayerTimeoutSeconds = 60;
    const double MergeSeconds = 30;
    const double BroadcastSeconds = 5;
    const double UnreachableSeconds = 1;
    const double BackwardRatio = 2;
    const double MedianForwardSeconds = 1;
    const double SpeedSpread = 0.6;
    const double DriftSpread = 0.25;
    const double RejoinSeconds = 60;
    static readonly (double Share, double MeanUpSeconds)[] _classes = [(0.75, 7200), (0.15, 1200), (0.10, 300)];

    enum Kind { Broadcast, DropOut, Rejoin, Arrive, Resend, Timeout, Computed, Return, EpochBegins }

    readonly record struct Happening(Kind Kind, int Peer, int Activation, int Life);

    sealed class Peer
    {
        public required int Layer;
        public required double ForwardSeconds;
        public required double BytesPerSecond;
        public required double MeanUpSeconds;
        public required double X, Y;
        public required IHopPolicy Policy;
        public bool IsOnline = true;
        public int Life;
        public bool IsComputing;
        public readonly SortedSet<int> Cached = [];
        public readonly Queue<int> Forwards = new();
        public readonly Queue<int> Backwards = new();
    }

    sealed class Activation
    {
        public required int[] Path;
        public int Layer;
        public bool IsGone;
        public bool IsBackward;
        public bool IsWaiting;
    }

    readonly VirtualQueue<Happening> _queue = new();
    readonly List<Activation> _activations = [];
    readonly Peer[] _peers;
    readonly int[][] _layers;
    SeededRandom _random;
    int _inFlight, _finished, _epoch, _drops, _failures;
    bool _merging;

    RoutingBenchmark(ulong seed, Func<ulong, IHopPolicy> policy)
    {
        _random = new SeededRandom(seed);
        int layerCount = 3 + _random.NextBelow(6);
        _layers = new int[layerCount][];
        for (int layer = 0; layer < layerCount; layer++)
            _layers[layer] = [.. Enumerable.Range(0, PeerCount).Where(i => i % layerCount == layer)];
        _peers = new Peer[PeerCount];
        for (int i = 0; i < PeerCount; i++)
        {
            double draw = _random.NextUnit();
            int kind = draw < _classes[0].Share ? 0 : draw < _classes[0].Share + _classes[1].Share ? 1 : 2;
            _peers[i] = new Peer
            {
                Layer = i % layerCount,
                ForwardSeconds = MedianForwardSeconds * Math.Exp(SpeedSpread * _random.NextNormal()),
                BytesPerSecond = 107e6 * Math.Exp(_random.NextNormal()),
                MeanUpSeconds = _classes[kind].MeanUpSeconds,
                X = _random.NextUnit(),
                Y = _random.NextUnit(),
                Policy = policy(SeededRandom.Derive(seed, (ulong)i)),
            };
        }
    }

    /// <summary>One run of the benchmark: the world is drawn from the seed, the same for every policy.</summary>
    public static RoutingOutcome Run(ulong seed, Func<ulong, IHopPolicy> policy)
    {
        var world = new RoutingBenchmark(seed, policy);
        return world.Play();
    }

    RoutingOutcome Play()
    {
        for (int i = 0; i < PeerCount; i++)
        {
            _queue.At(Instant.FromSeconds(_random.NextUnit() * BroadcastSeconds), new Happening(Kind.Broadcast, i, 0, 0));
            ScheduleDropOut(i);
        }
        _queue.At(Instant.Zero, new Happening(Kind.EpochBegins, 0, 0, 0));
        while (_epoch < EpochCount && _queue.TryNext(out Happening next))
            Handle(next);
        if (_epoch < EpochCount)
            throw new InvalidOperationException("the routing benchmark ran dry before its last epoch");
        return new RoutingOutcome(_queue.Now.Seconds, _layers.Length, _drops, _failures);
    }

    void Handle(Happening next)
    {
        Peer peer = _peers[next.Peer];
        switch (next.Kind)
        {
            case Kind.EpochBegins:
                _merging = false;
                foreach (Peer each in _peers)
                    each.ForwardSeconds *= Math.Exp(DriftSpread * _random.NextNormal());
                foreach (int source in _layers[0])
                    Work(source);
                break;
            case Kind.Broadcast:
                Broadcast(next.Peer);
                break;
            case Kind.DropOut:
                DropOut(next.Peer);
                break;
            case Kind.Rejoin:
                peer.IsOnline = true;
                ScheduleDropOut(next.Peer);
                Work(next.Peer);
                break;
            case Kind.Arrive:
                Arrive(next.Peer, next.Activation);
                break;
            case Kind.Resend:
                if (!_activations[next.Activation].IsGone)
                    SendOn(next.Peer, next.Activation);
                break;
            case Kind.Return:
                Return(next.Peer, next.Activation);
                break;
            case Kind.Timeout:
                TimeOut(next.Peer, next.Activation);
                break;
            default:
                if (next.Life == peer.Life)
                    Computed(next.Peer, next.Activation);
                break;
        }
    }

    void Broadcast(int from)
    {
        Peer peer = _peers[from];
        var told = new PeerBroadcast(peer.IsOnline, CacheSize - peer.Cached.Count, peer.Forwards.Count + peer.Backwards.Count,
            TimeSpan.FromSeconds((1 + BackwardRatio) * peer.ForwardSeconds));
        if (peer.Layer > 0)
        {
            foreach (int sender in _layers[peer.Layer - 1])
                _peers[sender].Policy.HandleBroadcast(from, told, _queue.Now);
        }
        _queue.After(TimeSpan.FromSeconds(BroadcastSeconds), new Happening(Kind.Broadcast, from, 0, 0));
    }

    void ScheduleDropOut(int i) => _queue.After(
        TimeSpan.FromSeconds(_random.NextExponential(_peers[i].MeanUpSeconds)), new Happening(Kind.DropOut, i, 0, 0));

    void DropOut(int i)
    {
        Peer peer = _peers[i];
        peer.IsOnline = false;
        peer.Life++;
        peer.IsComputing = false;
        foreach (int id in peer.Cached.Concat(peer.Forwards).Concat(peer.Backwards).ToArray())
            Drop(id);
        peer.Cached.Clear();
        peer.Forwards.Clear();
        peer.Backwards.Clear();
        _queue.After(TimeSpan.FromSeconds(_random.NextExponential(RejoinSeconds)), new Happening(Kind.Rejoin, i, 0, 0));
    }

    void Drop(int id)
    {
        Activation activation = _activations[id];
        if (activation.IsGone)
            return;
        activation.IsGone = true;
        _drops++;
        _inFlight--;
        for (int layer = 0; layer < activation.Path.Length && activation.Path[layer] >= 0; layer++)
        {
            if (layer > 0)
                _peers[activation.Path[layer - 1]].Policy.HandleSettled(activation.Path[layer]);
            if (_peers[activation.Path[layer]].Cached.Remove(id))
                Work(activation.Path[layer]);
        }
        foreach (int source in _layers[0])
            Work(source);
    }

    // One compute at a time: backward first, then a forward if the cache has room, then (layer 0) a new activation.
    void Work(int i)
    {
        Peer peer = _peers[i];
        if (peer.IsComputing || !peer.IsOnline || _merging)
            return;
        while (peer.Backwards.TryDequeue(out int backward))
        {
            if (_activations[backward].IsGone)
                continue;
            Compute(i, backward, BackwardRatio * peer.ForwardSeconds);
            return;
        }
        if (peer.Cached.Count >= CacheSize)
            return;
        while (peer.Forwards.TryDequeue(out int forward))
        {
            if (_activations[forward].IsGone)
                continue;
            _activations[forward].IsWaiting = false;
            bool isLast = peer.Layer == _layers.Length - 1;
            peer.Cached.Add(forward);
            Compute(i, forward, (isLast ? 1 + BackwardRatio : 1) * peer.ForwardSeconds);
            return;
        }
        if (peer.Layer > 0 || _finished + _inFlight >= ActivationsPerEpoch)
            return;
        var fresh = new Activation { Path = new int[_layers.Length] };
        Array.Fill(fresh.Path, -1);
        fresh.Path[0] = i;
        _activations.Add(fresh);
        _inFlight++;
        peer.Cached.Add(_activations.Count - 1);
        Compute(i, _activations.Count - 1, peer.ForwardSeconds);
    }

    void Compute(int i, int id, double seconds)
    {
        _peers[i].IsComputing = true;
        _queue.After(TimeSpan.FromSeconds(seconds), new Happening(Kind.Computed, i, id, _peers[i].Life));
    }

    void Computed(int i, int id)
    {
        Peer peer = _peers[i];
        Activation activation = _activations[id];
        peer.IsComputing = false;
        if (!activation.IsGone)
        {
            bool isLast = peer.Layer == _layers.Length - 1;
            if (activation.IsBackward || isLast)
            {
                activation.IsBackward = true;
                peer.Cached.Remove(id);
                SendBack(activation, id, peer.Layer);
            }
            else
            {
                SendOn(i, id);
            }
        }
        Work(i);
    }

    void SendOn(int from, int id)
    {
        Peer peer = _peers[from];
        Activation activation = _activations[id];
        int to = peer.Policy.Pick(_layers[peer.Layer + 1], _queue.Now);
        TimeSpan roundTrip = RoundTrip(from, to);
        var transfer = TimeSpan.FromSeconds(PayloadBytes / Math.Min(peer.BytesPerSecond, _peers[to].BytesPerSecond));
        activation.Layer = peer.Layer + 1;
        activation.Path[activation.Layer] = to;
        peer.Policy.HandleSent(to, roundTrip, transfer, PayloadBytes);
        _queue.After(roundTrip / 2 + transfer, new Happening(Kind.Arrive, to, id, 0));
    }

    void Arrive(int i, int id)
    {
        Activation activation = _activations[id];
        Peer peer = _peers[i];
        if (activation.IsGone)
            return;
        if (!peer.IsOnline)
        {
            int sender = activation.Path[activation.Layer - 1];
            _failures++;
            _peers[sender].Policy.HandleSettled(i);
            _peers[sender].Policy.HandleFailed(i, _queue.Now);
            activation.Path[activation.Layer] = -1;
            _queue.After(TimeSpan.FromSeconds(UnreachableSeconds), new Happening(Kind.Resend, sender, id, 0));
            return;
        }
        peer.Forwards.Enqueue(id);
        activation.IsWaiting = true;
        _queue.After(TimeSpan.FromSeconds(LayerTimeoutSeconds), new Happening(Kind.Timeout, i, id, 0));
        Work(i);
    }

    void TimeOut(int i, int id)
    {
        Activation activation = _activations[id];
        if (activation.IsWaiting && activation.Path[activation.Layer] == i)
            Drop(id);
    }

    void SendBack(Activation activation, int id, int layer)
    {
        if (layer == 0)
        {
            activation.IsGone = true;
            _inFlight--;
            if (++_finished < ActivationsPerEpoch)
                return;
            _finished = 0;
            _epoch++;
            _merging = true;
            _queue.After(TimeSpan.FromSeconds(MergeSeconds), new Happening(Kind.EpochBegins, 0, 0, 0));
            return;
        }
        int from = activation.Path[layer], to = activation.Path[layer - 1];
        _peers[to].Policy.HandleSettled(from);
        double rate = Math.Min(_peers[from].BytesPerSecond, _peers[to].BytesPerSecond);
        _queue.After(RoundTrip(from, to) / 2 + TimeSpan.FromSeconds(PayloadBytes / rate), new Happening(Kind.Return, to, id, 0));
    }

    void Return(int i, int id)
    {
        if (_activations[id].IsGone)
            return;
        _peers[i].Backwards.Enqueue(id);
        Work(i);
    }

    // 5 ms next door to about 105 ms across the map.
    TimeSpan RoundTrip(int from, int to)
    {
        double dx = _peers[from].X - _peers[to].X, dy = _peers[from].Y - _peers[to].Y;
        return TimeSpan.FromMilliseconds(5 + 70 * Math.Sqrt(dx * dx + dy * dy));
    }
}
