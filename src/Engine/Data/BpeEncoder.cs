// One thread's encoder: the working memory for merging a piece, and the tokens of pieces seen before.
// The cache holds pieces up to 64 bytes and is emptied when it is full, so its memory is bounded.
namespace OrionNative.Engine.Data;

sealed class BpeEncoder(BpeMerges merges)
{
    const int CachedPieceBytesMax = 64;
    const int CachedPiecesMax = 1 << 17;
    const int ScannedSymbolsMax = 48;

    readonly ByteStringTable _cache = new(1 << 12);
    readonly List<int> _cachedTokens = [];
    readonly List<int> _cachedEnds = [];
    readonly PriorityQueue<int, ulong> _heap = new();
    readonly int[] _ranks = new int[ScannedSymbolsMax];
    int[] _symbols = new int[256];
    int[] _next = [];
    int[] _previous = [];

    /// <summary>Appends the tokens of <paramref name="text"/>.</summary>
    public void Encode(ReadOnlySpan<byte> text, List<int> tokens)
    {
        while (!text.IsEmpty)
        {
            int length = PreTokenizer.NextPiece(merges.Pattern, text);
            EncodePiece(text[..length], tokens);
            text = text[length..];
        }
    }

    void EncodePiece(ReadOnlySpan<byte> piece, List<int> tokens)
    {
        if (piece.Length == 1)
        {
            tokens.Add(merges.ByteTokens[piece[0]]);
            return;
        }
        if (piece.Length > CachedPieceBytesMax)
        {
            Merge(piece, tokens);
            return;
        }
        int known = _cache.Find(piece);
        if (known < 0)
        {
            if (_cache.Count == CachedPiecesMax)
            {
                _cache.Clear();
                _cachedTokens.Clear();
                _cachedEnds.Clear();
            }
            known = _cache.FindOrAdd(piece);
            Merge(piece, _cachedTokens);
            _cachedEnds.Add(_cachedTokens.Count);
        }
        int start = known == 0 ? 0 : _cachedEnds[known - 1];
        for (int i = start; i < _cachedEnds[known]; i++)
            tokens.Add(_cachedTokens[i]);
    }

    void Merge(ReadOnlySpan<byte> piece, List<int> tokens)
    {
        if (merges.WholePieces is { } whole && whole.Table.Find(piece) is >= 0 and int number)
        {
            tokens.Add(whole.IdOf[number]);
            return;
        }
        if (_symbols.Length < piece.Length)
            Array.Resize(ref _symbols, piece.Length);
        for (int i = 0; i < piece.Length; i++)
            _symbols[i] = merges.ByteTokens[piece[i]];
        if (piece.Length <= ScannedSymbolsMax)
            MergeByScan(piece.Length, tokens);
        else
            MergeByHeap(piece.Length, tokens);
    }

    void MergeByScan(int count, List<int> tokens)
    {
        Span<int> symbols = _symbols.AsSpan(0, count);
        Span<int> ranks = _ranks.AsSpan(0, count); // ranks[i] joins symbols i and i + 1
        for (int i = 0; i + 1 < count; i++)
            ranks[i] = merges.Rank(symbols[i], symbols[i + 1]);
        while (count > 1)
        {
            int best = 0;
            for (int i = 1; i + 1 < count; i++)
            {
                if (ranks[i] < ranks[best])
                    best = i;
            }
            if (ranks[best] == BpeMerges.None)
                break;
            symbols[best] = merges.Joined(ranks[best]);
            symbols[(best + 2)..count].CopyTo(symbols[(best + 1)..]);
            ranks[(best + 1)..count].CopyTo(ranks[best..]);
            count--;
            if (best > 0)
                ranks[best - 1] = merges.Rank(symbols[best - 1], symbols[best]);
            if (best + 1 < count)
                ranks[best] = merges.Rank(symbols[best], symbols[best + 1]);
        }
        foreach (int symbol in symbols[..count])
            tokens.Add(symbol);
    }

    // An entry of the heap is (rank, position) and may be out of date; it counts if the pair there still has that rank.
    void MergeByHeap(int count, List<int> tokens)
    {
        if (_next.Length < count)
            (_next, _previous) = (new int[count], new int[count]);
        _heap.Clear();
        for (int i = 0; i < count; i++)
        {
            _next[i] = i + 1;
            _previous[i] = i - 1;
            Push(i, i + 1, count);
        }
        while (_heap.TryDequeue(out int at, out ulong priority))
        {
            int rank = (int)(priority >> 32);
            int right = _symbols[at] < 0 ? count : _next[at];
            if (right >= count || merges.Rank(_symbols[at], _symbols[right]) != rank)
                continue;
            _symbols[at] = merges.Joined(rank);
            _symbols[right] = -1;
            _next[at] = _next[right];
            if (_next[at] < count)
                _previous[_next[at]] = at;
            Push(at, _next[at], count);
            if (_previous[at] >= 0)
                Push(_previous[at], at, count);
        }
        for (int i = 0; i < count; i = _next[i])
            tokens.Add(_symbols[i]);
    }

    void Push(int left, int right, int count)
    {
        if (right < count && merges.Rank(_symbols[left], _symbols[right]) is var rank && rank != BpeMerges.None)
            _heap.Enqueue(left, (ulong)(uint)rank << 32 | (uint)left);
    }
}
