// A set of microbatches of one inner step: one bit each. Walked in ascending order, which is the canonical order.
using System.Numerics;

namespace OrionNative.Engine.Run;

sealed class MicrobatchSet(int capacity)
{
    readonly ulong[] _words = new ulong[(capacity + 63) / 64];

    public int Capacity => capacity;

    public int Count
    {
        get
        {
            int count = 0;
            foreach (ulong word in _words)
                count += BitOperations.PopCount(word);
            return count;
        }
    }

    public bool IsFull => Count == capacity;

    public static MicrobatchSet Of(int capacity, params ReadOnlySpan<int> members)
    {
        var set = new MicrobatchSet(capacity);
        foreach (int member in members)
            set.Add(member);
        return set;
    }

    public bool Contains(int microbatch) => (_words[microbatch >> 6] >> (microbatch & 63) & 1) != 0;

    /// <summary>Returns false if the microbatch was there already.</summary>
    public bool Add(int microbatch)
    {
        if ((uint)microbatch >= (uint)capacity)
            throw new ArgumentOutOfRangeException(nameof(microbatch), microbatch, $"a step has {capacity} microbatches");
        bool isNew = !Contains(microbatch);
        _words[microbatch >> 6] |= 1UL << (microbatch & 63);
        return isNew;
    }

    public void Remove(int microbatch) => _words[microbatch >> 6] &= ~(1UL << (microbatch & 63));

    public void Clear() => Array.Clear(_words);

    /// <summary>The first member at or after <paramref name="from"/>, or -1.</summary>
    public int Next(int from)
    {
        if (from >= capacity)
            return -1;
        int index = from >> 6;
        ulong word = _words[index] & ulong.MaxValue << (from & 63);
        while (word == 0)
        {
            if (++index == _words.Length)
                return -1;
            word = _words[index];
        }
        return index * 64 + BitOperations.TrailingZeroCount(word);
    }

    public MicrobatchSet Copy()
    {
        var copy = new MicrobatchSet(capacity);
        _words.CopyTo(copy._words, 0);
        return copy;
    }

    public MicrobatchSet Without(MicrobatchSet other)
    {
        MicrobatchSet rest = Copy();
        for (int i = 0; i < _words.Length; i++)
            rest._words[i] &= ~other._words[i];
        return rest;
    }

    public void UnionWith(MicrobatchSet other)
    {
        for (int i = 0; i < _words.Length; i++)
            _words[i] |= other._words[i];
    }

    public bool SameAs(MicrobatchSet other) => _words.AsSpan().SequenceEqual(other._words);

    /// <summary>A number that only the same members under the same seed have.</summary>
    public ulong Fingerprint(ulong seed)
    {
        foreach (ulong word in _words)
            seed = SeededRandom.Derive(seed, word);
        return seed;
    }

    public override string ToString()
    {
        var members = new List<int>();
        for (int m = Next(0); m >= 0; m = Next(m + 1))
            members.Add(m);
        return $"{{{string.Join(',', members)}}}";
    }
}
