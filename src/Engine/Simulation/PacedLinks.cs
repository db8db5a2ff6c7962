// Access links that are slow beside compute: payloads leave in pieces, and whoever has something to send to several peers serves
// them in turn, as congestion control shares an uplink between connections. Within a connection codes go before shares.
//   a piece of b bytes is on the uplink for b / up seconds, then in the receiver's downlink, first come first served, for b / down
//   its acknowledgement is back one round trip after it has left both
// A connection that is silent or whose receiver hangs gets no turn: nothing of it moves, and nothing is lost until it breaks.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

/// <summary>Rates of every peer's access link, bytes per second, and what travels over it.</summary>
sealed record LinkRates(double UpBytesPerSecond, double DownBytesPerSecond, long CodeBytes, long ShareBytes);

/// <summary>A part of a payload; Last tells the message itself, whose arrival is the payload's.</summary>
readonly record struct Piece(int To, long Bytes, Happening? Last, bool IsBulk);

sealed class PacedLinks(LinkRates rates, int nodeCount)
{
    const double PieceSeconds = 0.02;

    readonly long _pieceBytes = Math.Max(1200, (long)(rates.UpBytesPerSecond * PieceSeconds));
    const int LaneCount = 2;

    sealed class Payload(Happening message, long bytes)
    {
        public Happening Message => message;

        public long Left { get; set; } = bytes;
    }

    readonly Queue<Payload>[,,] _waiting = NewQueues(nodeCount);
    readonly int[] _turn = new int[nodeCount];
    readonly bool[] _isBusy = new bool[nodeCount];
    readonly Instant[] _downFree = new Instant[nodeCount];
    readonly long[,] _acknowledged = new long[nodeCount, nodeCount];
    readonly long[] _bulkBytes = new long[nodeCount];

    public LinkRates Rates => rates;

    static Queue<Payload>[,,] NewQueues(int nodeCount)
    {
        var queues = new Queue<Payload>[nodeCount, nodeCount, LaneCount];
        for (int i = 0; i < queues.Length; i++)
            queues[i / LaneCount / nodeCount, i / LaneCount % nodeCount, i % LaneCount] = new Queue<Payload>();
        return queues;
    }

    public void Queue(int from, int to, bool isBulk, Happening message) =>
        _waiting[from, to, isBulk ? 1 : 0].Enqueue(new Payload(message, isBulk ? rates.ShareBytes : rates.CodeBytes));

    /// <summary>The next piece of a node whose uplink is free; busy from now until <see cref="Left"/>.</summary>
    public bool TryBegin(int from, Func<int, int, bool> canReach, out Piece piece)
    {
        piece = default;
        for (int i = 0; i < nodeCount && !_isBusy[from]; i++)
        {
            int to = (_turn[from] + i) % nodeCount;
            Queue<Payload> lane = _waiting[from, to, 0].Count > 0 ? _waiting[from, to, 0] : _waiting[from, to, 1];
            if (lane.Count == 0 || !canReach(from, to))
                continue;
            _turn[from] = to + 1;
            Payload payload = lane.Peek();
            long bytes = Math.Min(_pieceBytes, payload.Left);
            payload.Left -= bytes;
            if (payload.Left == 0)
                lane.Dequeue();
            piece = new Piece(to, bytes, payload.Left == 0 ? payload.Message : null, lane == _waiting[from, to, 1]);
            return _isBusy[from] = true;
        }
        return false;
    }

    /// <summary>The piece has left the uplink; when it is through the receiver's downlink.</summary>
    public Instant Left(int from, in Piece piece, Instant now)
    {
        _isBusy[from] = false;
        ref Instant free = ref _downFree[piece.To];
        free = (free > now ? free : now) + TimeSpan.FromSeconds(piece.Bytes / rates.DownBytesPerSecond);
        return free;
    }

    /// <summary>Bytes that the receiver has acknowledged over this connection, these included.</summary>
    public long Acknowledge(int from, in Piece piece)
    {
        _bulkBytes[piece.To] += piece.IsBulk ? piece.Bytes : 0;
        return _acknowledged[from, piece.To] += piece.Bytes;
    }

    public long BulkBytesTo(int node) => _bulkBytes[node];

    /// <summary>The connection broke: what waits for it is lost.</summary>
    public void Drop(int a, int b)
    {
        for (int lane = 0; lane < LaneCount; lane++)
        {
            _waiting[a, b, lane].Clear();
            _waiting[b, a, lane].Clear();
        }
        (_acknowledged[a, b], _acknowledged[b, a]) = (0, 0);
    }

    /// <summary>The process died with a piece on its uplink.</summary>
    public void Died(int node) => _isBusy[node] = false;
}
