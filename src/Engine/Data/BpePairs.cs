// The pairs of neighbouring tokens in all distinct pieces, with how often each occurs, kept up to date while pairs are
// joined. Joining visits only the pieces that had the pair at some time, and changes only the counts next to a join.
// The heap may hold outdated counts; they are corrected when they surface, which is exact because a count that grew was
// pushed again when it grew.
using System.Runtime.InteropServices;

namespace OrionNative.Engine.Data;

sealed class BpePairs
{
    // A pair that occurs once is no repetition; joining it would learn the text by heart.
    const long TimesMin = 2;

    readonly int[] _tokens; // the pieces, one after another
    readonly int[] _starts;
    readonly int[] _lengths;
    readonly IReadOnlyList<long> _times;
    readonly Dictionary<ulong, int> _numberOf = [];
    readonly List<Pair> _pairs = [];
    readonly PriorityQueue<int, (long NegativeTimes, ulong Key)> _heap = new();
    readonly HashSet<int> _grown = [];

    public BpePairs(PieceCounts counts)
    {
        _times = counts.Times;
        int pieces = counts.Pieces.Count;
        _starts = new int[pieces];
        _lengths = new int[pieces];
        int total = 0;
        for (int piece = 0; piece < pieces; piece++)
        {
            _starts[piece] = total;
            _lengths[piece] = counts.Pieces[piece].Length;
            total += _lengths[piece];
        }
        _tokens = new int[total];
        for (int piece = 0; piece < pieces; piece++)
        {
            ReadOnlySpan<byte> bytes = counts.Pieces[piece];
            for (int i = 0; i < bytes.Length; i++)
                _tokens[_starts[piece] + i] = bytes[i];
            for (int i = 0; i + 1 < bytes.Length; i++)
                Change(bytes[i], bytes[i + 1], _times[piece], piece);
        }
        PushGrown();
    }

    /// <summary>The pair that occurs most often and at least twice; of several, the one with the smaller ids.</summary>
    public bool TryTakeMostFrequent(out int left, out int right)
    {
        while (_heap.TryDequeue(out int number, out (long NegativeTimes, ulong Key) priority))
        {
            Pair pair = _pairs[number];
            if (pair.Times < TimesMin)
                continue;
            if (pair.Times == -priority.NegativeTimes)
            {
                (left, right) = ((int)(pair.Key >> 32), (int)(uint)pair.Key);
                return true;
            }
            // Outdated: the count fell since it was pushed.
            if (pair.Times < -priority.NegativeTimes)
                _heap.Enqueue(number, (-pair.Times, pair.Key));
        }
        (left, right) = (-1, -1);
        return false;
    }

    /// <summary>Joins every occurrence of a pair, from left to right, into token <paramref name="id"/>.</summary>
    public void Join(int left, int right, int id)
    {
        int number = _numberOf[Key(left, right)];
        foreach (int piece in _pairs[number].Pieces)
            JoinIn(piece, left, right, id);
        ref Pair joined = ref CollectionsMarshal.AsSpan(_pairs)[number];
        joined.Times = 0;
        joined.Pieces = [];
        _grown.Remove(number);
        PushGrown();
    }

    void JoinIn(int piece, int left, int right, int id)
    {
        Span<int> tokens = _tokens.AsSpan(_starts[piece], _lengths[piece]);
        long times = _times[piece];
        int to = 0;
        for (int from = 0; from < tokens.Length; to++)
        {
            if (from + 1 == tokens.Length || tokens[from] != left || tokens[from + 1] != right)
            {
                tokens[to] = tokens[from++];
                continue;
            }
            if (to > 0)
            {
                Change(tokens[to - 1], left, -times, piece);
                Change(tokens[to - 1], id, times, piece);
            }
            if (from + 2 < tokens.Length)
            {
                Change(right, tokens[from + 2], -times, piece);
                Change(id, tokens[from + 2], times, piece);
            }
            tokens[to] = id;
            from += 2;
        }
        _lengths[piece] = to;
    }

    void Change(int left, int right, long times, int piece)
    {
        ulong key = Key(left, right);
        ref int slot = ref CollectionsMarshal.GetValueRefOrAddDefault(_numberOf, key, out bool exists);
        if (!exists)
        {
            slot = _pairs.Count;
            _pairs.Add(new Pair { Key = key, Pieces = [] });
        }
        ref Pair pair = ref CollectionsMarshal.AsSpan(_pairs)[slot];
        pair.Times += times;
        if (times < 0)
            return;
        _grown.Add(slot);
        // A piece is visited in one go, so looking at the last entry is enough to list it once a visit.
        if (pair.Pieces.Count == 0 || pair.Pieces[^1] != piece)
            pair.Pieces.Add(piece);
    }

    void PushGrown()
    {
        foreach (int number in _grown)
            _heap.Enqueue(number, (-_pairs[number].Times, _pairs[number].Key));
        _grown.Clear();
    }

    static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    struct Pair
    {
        public ulong Key;
        public long Times;
        public List<int> Pieces;
    }
}
