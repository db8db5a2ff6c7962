// Slots of a few sizes carved once out of one piece of memory that the collector never moves: allocated here, or handed
// in (page-locked by CUDA, say). Renting takes the smallest size that fits and never allocates.
// Invariant: a slot is in the pool exactly while its state is Free.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Framing;

/// <summary>So many slots of so many bytes.</summary>
public readonly record struct SlotClass(nuint Bytes, int Count);

/// <summary>A fixed set of page-aligned slots. Members may be used from any thread.</summary>
public sealed unsafe class PinnedPool : IDisposable
{
    const nuint PageBytes = 4096;

    readonly Lock _gate = new();
    readonly SlotClass[] _classes;
    readonly Slot[][] _free;
    readonly int[] _freeCount;
    readonly bool _owned;
    byte* _memory;

    /// <summary>Allocates the memory.</summary>
    public PinnedPool(params SlotClass[] classes) : this(null, 0, classes) { }

    /// <summary>Carves <paramref name="bytes"/> bytes that the caller keeps alive; null allocates them. At least
    /// <see cref="BytesFor"/> bytes, page-aligned.</summary>
    public PinnedPool(byte* memory, nuint bytes, params SlotClass[] classes)
    {
        _classes = [.. classes.OrderBy(c => c.Bytes)];
        Bytes = BytesFor(_classes);
        _owned = memory == null;
        if (!_owned && (bytes < Bytes || (nuint)memory % PageBytes != 0))
            throw new ArgumentException($"The slots need {Bytes} bytes at a multiple of {PageBytes}; got {bytes} at {(nuint)memory:x}.");
        _memory = _owned ? (byte*)NativeMemory.AlignedAlloc(Bytes, PageBytes) : memory;
        if (_owned) NativeMemory.Clear(_memory, Bytes);
        _free = new Slot[_classes.Length][];
        _freeCount = new int[_classes.Length];
        byte* next = _memory;
        for (int i = 0; i < _classes.Length; i++)
        {
            _free[i] = new Slot[_classes[i].Count];
            for (int j = 0; j < _classes[i].Count; j++, next += Page(_classes[i].Bytes)) _free[i][j] = new Slot(this, i, next, _classes[i].Bytes);
            _freeCount[i] = _classes[i].Count;
        }
    }

    /// <summary>Bytes of memory under all slots.</summary>
    public nuint Bytes { get; }

    /// <summary>The memory under all slots, e.g. to register it with a device.</summary>
    public byte* Memory => _memory;

    /// <summary>Slots that are free now.</summary>
    public int FreeCount
    {
        get
        {
            lock (_gate) return _freeCount.Sum();
        }
    }

    /// <summary>Bytes that such slots need.</summary>
    public static nuint BytesFor(params SlotClass[] classes)
    {
        nuint bytes = PageBytes;
        foreach (SlotClass c in classes) bytes = checked(bytes + (Page(c.Bytes) * (nuint)c.Count));
        return bytes;
    }

    /// <summary>A slot of the smallest size that holds <paramref name="bytes"/> bytes, or false when all such are in use.</summary>
    public bool TryRent(nuint bytes, out Slot slot)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_memory == null, this);
            for (int i = 0; i < _classes.Length; i++)
            {
                if (_classes[i].Bytes < bytes || _freeCount[i] == 0) continue;
                slot = _free[i][--_freeCount[i]];
                slot.Rent();
                return true;
            }
        }
        slot = null!;
        return false;
    }

    /// <summary>Takes a slot back that nobody reads or fills any more.</summary>
    public void Return(Slot slot)
    {
        if (slot.Pool != this) throw new ArgumentException("The slot belongs to another pool.", nameof(slot));
        lock (_gate)
        {
            slot.Free();
            _free[slot.SizeClass][_freeCount[slot.SizeClass]++] = slot;
        }
    }

    /// <summary>Frees the memory. Every slot must be back: a transport could otherwise read freed memory.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_memory == null) return;
            int out_ = _classes.Sum(c => c.Count) - _freeCount.Sum();
            if (out_ > 0) throw new InvalidOperationException($"{out_} of {_classes.Sum(c => c.Count)} slots are still in use; close the links first.");
            if (_owned) NativeMemory.AlignedFree(_memory);
            _memory = null;
        }
    }

    static nuint Page(nuint bytes) => (bytes + PageBytes - 1) / PageBytes * PageBytes;
}
