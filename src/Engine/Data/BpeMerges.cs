// The merges of a BPE tokenizer as a hash table from a pair of ids to its rank and the id of the joined token, with the
// tokens of single bytes beside it. Read-only after construction, shared by all encoders.
using System.Numerics;

namespace OrionNative.Engine.Data;

sealed class BpeMerges
{
    /// <summary>The rank of a pair that does not merge.</summary>
    public const int None = int.MaxValue;

    readonly ulong[] _keys;
    readonly int[] _ranks; // -1 where the slot is empty
    readonly int[] _joined;

    /// <exception cref="InvalidDataException">A byte has no token, or a merge does not lead to one.</exception>
    public BpeMerges(TokenizerModel model)
    {
        Pattern = model.Pattern;
        var ids = new ByteStringTable(model.Vocabulary.Length);
        var idOf = new List<int>(model.Vocabulary.Length);
        for (int id = 0; id < model.Vocabulary.Length; id++)
        {
            if (model.Vocabulary[id] is not { } bytes)
                continue;
            if (ids.FindOrAdd(bytes) != idOf.Count)
                throw new InvalidDataException($"Token '{ByteLevel.ToText(bytes)}' has two ids, one of them {id}.");
            idOf.Add(id);
        }
        for (int value = 0; value < 256; value++)
        {
            int number = ids.Find([(byte)value]);
            ByteTokens[value] = number >= 0 ? idOf[number] : throw new InvalidDataException($"The vocabulary has no token for byte 0x{value:X2}, so text with it could not be encoded.");
        }

        int capacity = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, 2 * model.Merges.Count));
        _keys = new ulong[capacity];
        _ranks = new int[capacity];
        _joined = new int[model.Merges.Count];
        Array.Fill(_ranks, -1);
        for (int rank = 0; rank < model.Merges.Count; rank++)
        {
            (int left, int right) = model.Merges[rank];
            byte[] bytes = [.. BytesOf(model, left, rank), .. BytesOf(model, right, rank)];
            int number = ids.Find(bytes);
            if (number < 0)
                throw new InvalidDataException($"Merge {rank} makes '{ByteLevel.ToText(bytes)}', which is not in the vocabulary.");
            _joined[rank] = idOf[number];
            int slot = Slot(Key(left, right));
            if (_ranks[slot] >= 0)
                throw new InvalidDataException($"Merges {_ranks[slot]} and {rank} join the same pair into '{ByteLevel.ToText(bytes)}'.");
            _keys[slot] = Key(left, right);
            _ranks[slot] = rank;
        }
        if (model.IgnoreMerges)
            WholePieces = (ids, [.. idOf]);
    }

    /// <summary>How text is cut.</summary>
    public PreTokenizerPattern Pattern { get; }

    /// <summary>The token of each byte.</summary>
    public int[] ByteTokens { get; } = new int[256];

    /// <summary>The vocabulary, where a piece that is a token is taken whole; else null.</summary>
    public (ByteStringTable Table, int[] IdOf)? WholePieces { get; }

    /// <summary>The id of the token that a merge makes.</summary>
    public int Joined(int rank) => _joined[rank];

    /// <summary>The rank of a pair, or <see cref="None"/>.</summary>
    public int Rank(int left, int right)
    {
        int rank = _ranks[Slot(Key(left, right))];
        return rank < 0 ? None : rank;
    }

    static byte[] BytesOf(TokenizerModel model, int id, int rank) =>
        (uint)id < (uint)model.Vocabulary.Length && model.Vocabulary[id] is { } bytes ? bytes : throw new InvalidDataException($"Merge {rank} uses id {id}, which names no token.");

    static ulong Key(int left, int right) => (ulong)(uint)left << 32 | (uint)right;

    int Slot(ulong key)
    {
        int mask = _keys.Length - 1;
        int slot = (int)(key * 0x9E3779B97F4A7C15 >> 32) & mask;
        while (_ranks[slot] >= 0 && _keys[slot] != key)
            slot = (slot + 1) & mask;
        return slot;
    }
}
