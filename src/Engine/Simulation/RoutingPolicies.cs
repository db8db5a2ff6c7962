// The three ways to choose a next hop that the routing benchmark compares. Each sender owns one policy object and feeds it
// what that sender can know: the peers' broadcasts (old by up to five seconds) and what its own sends told it.
//   Uniform      p_j = 1/n over the active
//   FreeCache    w_j = ln(free cache) + 1/(1 + queue) over the active with free cache, else uniform    (IOTA, live code)
//   Pathfinder   Routing/Pathfinder.cs
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

/// <summary>What one peer broadcasts about itself.</summary>
readonly record struct PeerBroadcast(bool IsActive, int FreeCache, int ForwardQueue, TimeSpan Service);

interface IHopPolicy
{
    int Pick(ReadOnlySpan<int> candidates, Instant now);

    void HandleBroadcast(int peer, PeerBroadcast told, Instant now);

    void HandleSent(int peer, TimeSpan roundTrip, TimeSpan transfer, long bytes);

    void HandleSettled(int peer);

    void HandleFailed(int peer, Instant now);
}

/// <summary>Every active candidate alike.</summary>
class UniformPolicy(ulong seed) : IHopPolicy
{
    protected readonly Dictionary<int, PeerBroadcast> Told = [];
    SeededRandom _random = new(seed);

    public virtual int Pick(ReadOnlySpan<int> candidates, Instant now)
    {
        double sum = 0;
        foreach (int peer in candidates)
            sum += Weight(peer);
        double point = _random.NextUnit() * (sum > 0 ? sum : candidates.Length);
        foreach (int peer in candidates)
        {
            point -= sum > 0 ? Weight(peer) : 1;
            if (point < 0)
                return peer;
        }
        return candidates[^1];
    }

    protected virtual double Weight(int peer) => Told.TryGetValue(peer, out PeerBroadcast told) && !told.IsActive ? 0 : 1;

    public void HandleBroadcast(int peer, PeerBroadcast told, Instant now) => Told[peer] = told;

    public void HandleSent(int peer, TimeSpan roundTrip, TimeSpan transfer, long bytes)
    {
    }

    public void HandleSettled(int peer)
    {
    }

    public void HandleFailed(int peer, Instant now)
    {
        if (Told.TryGetValue(peer, out PeerBroadcast told))
            Told[peer] = told with { IsActive = false };
    }
}

/// <summary>The published weight of IOTA's peer selection.</summary>
sealed class FreeCachePolicy(ulong seed) : UniformPolicy(seed)
{
    protected override double Weight(int peer)
    {
        if (!Told.TryGetValue(peer, out PeerBroadcast told) || !told.IsActive || told.FreeCache <= 0)
            return 0;
        return Math.Log(told.FreeCache) + 1.0 / (1 + told.ForwardQueue);
    }
}

/// <summary>Ours.</summary>
sealed class PathfinderPolicy(PathfinderSettings settings, ulong seed, long payloadBytes) : IHopPolicy
{
    readonly Pathfinder _pathfinder = new(settings, seed);
    readonly Dictionary<PeerId, int> _numbers = [];
    readonly Dictionary<PeerId, int> _sentSinceTold = [];
    SeededRandom _random = new(SeededRandom.Derive(seed, 1));

    public int Pick(ReadOnlySpan<int> candidates, Instant now)
    {
        if (_pathfinder.Count == 0)
        {
            PeerId[] peers = new PeerId[candidates.Length];
            for (int i = 0; i < peers.Length; i++)
            {
                peers[i] = PeerId.FromNumber(candidates[i]);
                _numbers[peers[i]] = candidates[i];
            }
            _pathfinder.SetCandidates(peers);
        }
        return _pathfinder.TryPick(payloadBytes, stepMicrobatches: 0, [], now, out PeerId peer)
            ? _numbers[peer]
            : candidates[_random.NextBelow(candidates.Length)];
    }

    public void HandleBroadcast(int peer, PeerBroadcast told, Instant now)
    {
        PeerId id = PeerId.FromNumber(peer);
        _pathfinder.SetSuspected(id, !told.IsActive);
        if (!told.IsActive)
            return;
        // a broadcast knows of all that was sent before it; the benchmark's peers never say that they are full
        for (_sentSinceTold.Remove(id, out int sent); sent > 0; sent--)
            _pathfinder.HandleAnswered(id);
        _pathfinder.HandleStatus(id, new PeerLoad(told.ForwardQueue + Math.Max(0, 1 - told.FreeCache), int.MaxValue, 0, told.Service.Ticks * 100, 0), now);
    }

    public void HandleSent(int peer, TimeSpan roundTrip, TimeSpan transfer, long bytes)
    {
        PeerId id = PeerId.FromNumber(peer);
        _pathfinder.HandleSent(id);
        _sentSinceTold[id] = _sentSinceTold.GetValueOrDefault(id) + 1;
        _pathfinder.HandleRoundTrip(id, roundTrip);
        _pathfinder.HandleTransfer(id, bytes, transfer);
    }

    public void HandleSettled(int peer) => _pathfinder.HandleSettled(PeerId.FromNumber(peer));

    public void HandleFailed(int peer, Instant now)
    {
        _pathfinder.HandleFailed(PeerId.FromNumber(peer), now);
        _pathfinder.SetSuspected(PeerId.FromNumber(peer), true);
    }
}
