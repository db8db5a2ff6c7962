// What replicas exchange of a long vector: of every 4096 elements the K largest by magnitude, 14 bits each; the rest waits in an
// error that is added the next time (error feedback, arXiv:1901.09847; top-k in chunks with 2-bit values, arXiv:2508.15706).
//   a = decay*error + x      error = a - decoded
// A packed chunk, bytes little-endian: low, high (bf16), K places of 12 bits ascending, K codes of 2 bits (bit 0 sign, bit 1 upper half)
//   value = sign * (low + (upper ? 3/4 : 1/4) * (high - low)),  low <= the K-th magnitude, high >= the largest
// Every device makes the same bytes and the same error from the same bits: of equal magnitudes the lower place is kept.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>a = decay*error + x: packs the `kept` largest of every <see cref="TopKWire.Chunk"/> elements of a into
    /// <see cref="TopKWire.Bytes"/> bytes at destination, memory of the device; error = a minus what was packed. x and error are
    /// Float32 of one shape, without gaps.</summary>
    void TopKPack(Tensor x, Tensor error, float decay, int kept, nint destination);

    /// <summary>destination += weight * the vector packed at source. destination is Float32 without gaps.</summary>
    void TopKAdd(nint source, int kept, float weight, Tensor destination);
}

/// <summary>Sizes of packed vectors.</summary>
public static class TopKWire
{
    /// <summary>Elements of a chunk; a place within it has 12 bits.</summary>
    public const int Chunk = 4096;

    /// <summary>Most elements kept of a chunk.</summary>
    public const int KeptMost = 512;

    /// <summary>Bytes of one packed chunk: 116 for 64 of 4096, which is 141 times less than Float32.</summary>
    public static int ChunkBytes(int kept) => 4 + (kept / 4 * 7);

    /// <summary>Bytes of a packed vector.</summary>
    public static long Bytes(long count, int kept) => (count + Chunk - 1) / Chunk * ChunkBytes(kept);

    /// <exception cref="ArgumentOutOfRangeException">Not a number of elements that a chunk can keep.</exception>
    public static void RequireKept(int kept)
    {
        if (kept < 4 || kept > KeptMost || kept % 4 != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(kept), kept, $"of {Chunk} elements a multiple of 4 from 4 to {KeptMost} can be kept");
        }
    }
}
