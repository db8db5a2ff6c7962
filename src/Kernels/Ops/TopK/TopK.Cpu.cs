// Top-k on the CPU: an item is a chunk. Four rounds of a histogram over the bytes of the magnitudes find the K-th largest, as on a
// card; one pass then writes places, codes and error. Traffic: 12 bytes an element to pack.
using System.Buffers.Binary;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    struct TopKCall
    {
        public float* X;
        public float* Error;
        public byte* Wire;
        public long Count;
        public float Factor;
        public int Kept;
    }

    /// <inheritdoc/>
    public void TopKPack(Tensor x, Tensor error, float decay, int kept, nint destination)
    {
        Shape.Is(x, ElementType.Float32, error.Rows, error.Columns);
        Shape.Is(error, ElementType.Float32, x.Rows, x.Columns);
        Shape.Holds(x.IsContiguous && error.IsContiguous, "no gaps", x);
        TopKWire.RequireKept(kept);
        ArgumentOutOfRangeException.ThrowIfZero(destination);
        TopKCall call = new() { X = (float*)x.Address, Error = (float*)error.Address, Wire = (byte*)destination, Count = x.Count, Factor = decay, Kept = kept };
        _team.Run(DivideUp(x.Count, TopKWire.Chunk), &call, &PackChunk);
    }

    /// <inheritdoc/>
    public void TopKAdd(nint source, int kept, float weight, Tensor destination)
    {
        Shape.IsType(destination, ElementType.Float32);
        Shape.Holds(destination.IsContiguous, "no gaps", destination);
        TopKWire.RequireKept(kept);
        ArgumentOutOfRangeException.ThrowIfZero(source);
        TopKCall call = new() { X = (float*)destination.Address, Wire = (byte*)source, Count = destination.Count, Factor = weight, Kept = kept };
        _team.Run(DivideUp(destination.Count, TopKWire.Chunk), &call, &AddChunk);
    }

    static void PackChunk(void* state, int item)
    {
        TopKCall* call = (TopKCall*)state;
        long first = (long)item * TopKWire.Chunk;
        int here = (int)Math.Min(TopKWire.Chunk, call->Count - first);
        float* a = stackalloc float[TopKWire.Chunk];
        uint* keys = stackalloc uint[TopKWire.Chunk];
        uint largest = 0;
        for (int i = 0; i < TopKWire.Chunk; i++)
        {
            a[i] = i < here ? MathF.FusedMultiplyAdd(call->Factor, call->Error[first + i], call->X[first + i]) : 0;
            keys[i] = BitConverter.SingleToUInt32Bits(a[i]) & 0x7FFF_FFFF;
            largest = Math.Max(largest, keys[i]);
        }

        int rank = call->Kept;
        uint threshold = Threshold(keys, ref rank);
        ushort low = (ushort)(threshold >> 16), high = (ushort)((largest + 0xFFFF) >> 16);
        float floor = BFloat16.ToSingle(low), range = BFloat16.ToSingle(high) - floor;
        Span<byte> wire = new(call->Wire + ((long)item * TopKWire.ChunkBytes(call->Kept)), TopKWire.ChunkBytes(call->Kept));
        wire.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(wire, low);
        BinaryPrimitives.WriteUInt16LittleEndian(wire[2..], high);
        Span<byte> places = wire[4..], codes = wire[(4 + (call->Kept / 2 * 3))..];
        int k = 0, equal = 0;
        for (int i = 0; i < TopKWire.Chunk; i++)
        {
            if (keys[i] > threshold || (keys[i] == threshold && equal++ < rank))
            {
                int upper = BitConverter.UInt32BitsToSingle(keys[i]) - floor >= 0.5f * range ? 2 : 0, code = upper | (a[i] < 0 ? 1 : 0);
                int place = k % 2 == 0 ? i : i << 4, at = k / 2 * 3 + (k % 2);
                places[at] |= (byte)place;
                places[at + 1] |= (byte)(place >> 8);
                codes[k / 4] |= (byte)(code << (2 * (k % 4)));
                a[i] -= TopKLevel(floor, range, code);
                k++;
            }
        }

        new Span<float>(a, here).CopyTo(new Span<float>(call->Error + first, here));
    }

    // The rank-th largest key; rank becomes how many of the keys equal to it are kept.
    static uint Threshold(uint* keys, ref int rank)
    {
        uint prefix = 0, mask = 0;
        Span<int> histogram = stackalloc int[256];
        for (int shift = 24; shift >= 0; shift -= 8)
        {
            histogram.Clear();
            for (int i = 0; i < TopKWire.Chunk; i++)
            {
                if ((keys[i] & mask) == prefix)
                {
                    histogram[(int)(keys[i] >> shift) & 255]++;
                }
            }

            int bin = 255;
            for (; histogram[bin] < rank; bin--)
            {
                rank -= histogram[bin];
            }

            prefix |= (uint)bin << shift;
            mask |= 255u << shift;
        }

        return prefix;
    }

    static float TopKLevel(float floor, float range, int code)
    {
        float magnitude = MathF.FusedMultiplyAdd((code & 2) != 0 ? 0.75f : 0.25f, range, floor);
        return (code & 1) != 0 ? -magnitude : magnitude;
    }

    static void AddChunk(void* state, int item)
    {
        TopKCall* call = (TopKCall*)state;
        ReadOnlySpan<byte> wire = new(call->Wire + ((long)item * TopKWire.ChunkBytes(call->Kept)), TopKWire.ChunkBytes(call->Kept));
        float floor = BFloat16.ToSingle(BinaryPrimitives.ReadUInt16LittleEndian(wire));
        float range = BFloat16.ToSingle(BinaryPrimitives.ReadUInt16LittleEndian(wire[2..])) - floor;
        ReadOnlySpan<byte> places = wire[4..], codes = wire[(4 + (call->Kept / 2 * 3))..];
        for (int k = 0; k < call->Kept; k++)
        {
            int at = k / 2 * 3, place = k % 2 == 0 ? places[at] | ((places[at + 1] & 15) << 8) : (places[at + 1] >> 4) | (places[at + 2] << 4);
            long i = ((long)item * TopKWire.Chunk) + place;
            // the last chunk may keep zeros past the end
            if (i < call->Count)
            {
                call->X[i] = MathF.FusedMultiplyAdd(call->Factor, TopKLevel(floor, range, (codes[k / 4] >> (2 * (k % 4))) & 3), call->X[i]);
            }
        }
    }
}
