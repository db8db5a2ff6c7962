// The network between simulated nodes: one reliable, ordered connection per pair, with a delay, that can break (what is on
// its way is lost, both ends hear of it), or fall silent in one direction (what is sent arrives late, after the silence,
// unless the connection broke meanwhile). Node 0 is the orchestrator. With access links, lanes wait for their turn there and do not
// wait for each other.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

sealed class SimNetwork(int nodeCount, TimeSpan delay, long bytesPerSecond, AccessLinks? access = null)
{
    readonly int[,] _connection = new int[nodeCount, nodeCount];
    readonly bool[,] _isUp = new bool[nodeCount, nodeCount];
    readonly Instant[,] _silentUntil = new Instant[nodeCount, nodeCount];
    readonly Instant[,] _silenceHeard = new Instant[nodeCount, nodeCount];
    readonly Instant[,,] _lastArrival = new Instant[nodeCount, nodeCount, 3];
    readonly int[,] _onTheWay = new int[nodeCount, nodeCount];

    public bool IsUp(int a, int b) => _isUp[Math.Min(a, b), Math.Max(a, b)];

    public int Connection(int a, int b) => _connection[Math.Min(a, b), Math.Max(a, b)];

    public int OnTheWay(int from, int to) => _onTheWay[from, to];

    public void Open(int a, int b)
    {
        _isUp[Math.Min(a, b), Math.Max(a, b)] = true;
        _connection[Math.Min(a, b), Math.Max(a, b)]++;
        (_onTheWay[a, b], _onTheWay[b, a]) = (0, 0);
    }

    public void Close(int a, int b)
    {
        _isUp[Math.Min(a, b), Math.Max(a, b)] = false;
        _connection[Math.Min(a, b), Math.Max(a, b)]++;
        (_onTheWay[a, b], _onTheWay[b, a]) = (0, 0);
    }

    public void Silence(int from, int to, Instant until) => _silentUntil[from, to] = until;

    /// <summary>What was sent during a silence, and what waits behind it, is still arriving; also after <see cref="Heal"/>.</summary>
    public bool WasSilent(int from, int to, Instant now) => _silenceHeard[from, to] >= now;

    public bool IsSilent(int from, int to, Instant now) => _silentUntil[from, to] > now;

    public void Heal() => Array.Clear(_silentUntil);

    /// <summary>When a message sent now arrives; in order, and not before the silence ends.</summary>
    public Instant Arrival(int from, int to, long bytes, Instant now, bool isBulk = false)
    {
        int lane = access is null ? 0 : AccessLinks.LaneOf(bytes, isBulk);
        Instant at = access is null ? now + delay + TimeSpan.FromSeconds((double)bytes / bytesPerSecond) : access.Leaves(from, to, bytes, lane, now) + delay;
        bool isSilent = _silentUntil[from, to] > now;
        if (isSilent)
            at = _silentUntil[from, to] + delay;
        ref Instant last = ref _lastArrival[from, to, lane];
        if (at < last)
            at = last;
        if (isSilent)
            _silenceHeard[from, to] = at;
        last = at;
        _onTheWay[from, to]++;
        return at;
    }

    /// <summary>One more is on the way, at a time that the sender of the copy knows.</summary>
    public void Strays(int from, int to) => _onTheWay[from, to]++;

    public void Arrived(int from, int to) => _onTheWay[from, to]--;
}
