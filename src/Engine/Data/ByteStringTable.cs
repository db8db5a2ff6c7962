// A set of byte strings that numbers them 0, 1, 2, … in the order of their first appearance. Values live in arrays of the
// caller, indexed by that number. Open addressing with linear probing at a load of at most one half; the strings lie one
// after another in one arena, so a table of a million pieces is four arrays, not a million objects.
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace OrionNative.Engine.Data;

sealed class ByteStringTable
{
    int[] _slots; // number + 1, or 0 for empty
    uint[] _hashes;
    int[] _ends;
    byte[] _arena;

    public ByteStringTable(int capacity = 16)
    {
        _slots = new int[BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, 2 * capacity))];
        _hashes = new uint[_slots.Length / 2];
        _ends = new int[_slots.Length / 2 + 1];
        _arena = new byte[_slots.Length * 4];
    }

    /// <summary>Strings in the table; their numbers are below this.</summary>
    public int Count { get; private set; }

    /// <summary>The string with a number.</summary>
    public ReadOnlySpan<byte> this[int number] => _arena.AsSpan(_ends[number].._ends[number + 1]);

    /// <summary>The number of a string, or -1.</summary>
    public int Find(ReadOnlySpan<byte> text) => _slots[Slot(text, Hash(text))] - 1;

    /// <summary>The number of a string, added if it is new.</summary>
    public int FindOrAdd(ReadOnlySpan<byte> text)
    {
        uint hash = Hash(text);
        int slot = Slot(text, hash);
        if (_slots[slot] > 0)
            return _slots[slot] - 1;
        if (Count == _hashes.Length)
        {
            Grow();
            slot = Slot(text, hash);
        }
        int start = _ends[Count];
        int end = checked(start + text.Length);
        if (end > _arena.Length)
            Array.Resize(ref _arena, (int)Math.Min(Array.MaxLength, Math.Max(end, 2L * _arena.Length)));
        text.CopyTo(_arena.AsSpan(start));
        _hashes[Count] = hash;
        _ends[Count + 1] = end;
        _slots[slot] = ++Count;
        return Count - 1;
    }

    /// <summary>Forgets all strings and keeps the memory.</summary>
    public void Clear()
    {
        Array.Clear(_slots);
        Count = 0;
    }

    int Slot(ReadOnlySpan<byte> text, uint hash)
    {
        int mask = _slots.Length - 1;
        int slot = (int)hash & mask;
        while (_slots[slot] is > 0 and int number && (_hashes[number - 1] != hash || !text.SequenceEqual(this[number - 1])))
            slot = (slot + 1) & mask;
        return slot;
    }

    void Grow()
    {
        Array.Resize(ref _hashes, checked(_hashes.Length * 2));
        Array.Resize(ref _ends, _hashes.Length + 1);
        _slots = new int[_hashes.Length * 2];
        int mask = _slots.Length - 1;
        for (int number = 0; number < Count; number++)
        {
            int slot = (int)_hashes[number] & mask;
            while (_slots[slot] > 0)
                slot = (slot + 1) & mask;
            _slots[slot] = number + 1;
        }
    }

    // Multiply and fold, eight bytes at a time. The table is not exposed to anyone who could choose colliding text for
    // harm beyond slowness, so a keyed hash would buy nothing.
    static uint Hash(ReadOnlySpan<byte> text)
    {
        const ulong factor = 0x9E3779B97F4A7C15;
        ulong hash = (ulong)text.Length * factor;
        ref byte source = ref MemoryMarshal.GetReference(text);
        nint at = 0, length = text.Length;
        for (; at + 8 <= length; at += 8)
            hash = Fold((hash ^ Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref source, at))) * factor);
        ulong rest = 0;
        for (int shift = 0; at < length; at++, shift += 8)
            rest |= (ulong)Unsafe.Add(ref source, at) << shift;
        hash = Fold((hash ^ rest) * factor);
        return (uint)Fold(hash * factor);
    }

    static ulong Fold(ulong hash) => hash ^ (hash >> 32);
}
