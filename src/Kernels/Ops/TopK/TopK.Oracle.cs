// Top-k by its definition: sort, take, describe.
using System.Buffers.Binary;

namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>The wire of x, and the error that stays. Both have one right value, to the bit.</summary>
    public static (byte[] Wire, float[] Error) TopKPack(float[] x, float[] error, float decay, int kept)
    {
        float[] a = [.. x.Zip(error, (value, e) => MathF.FusedMultiplyAdd(decay, e, value))];
        List<byte> wire = [];
        foreach (float[] part in a.Chunk(TopKWire.Chunk))
        {
            float[] chunk = [.. part, .. new float[TopKWire.Chunk - part.Length]];
            int[] places = [.. Enumerable.Range(0, chunk.Length).OrderByDescending(i => Math.Abs(chunk[i])).ThenBy(i => i).Take(kept).Order()];
            ushort low = (ushort)(BitConverter.SingleToUInt32Bits(places.Min(i => Math.Abs(chunk[i]))) >> 16);
            ushort high = (ushort)((BitConverter.SingleToUInt32Bits(places.Max(i => Math.Abs(chunk[i]))) + 0xFFFF) >> 16);
            float floor = BitConverter.UInt32BitsToSingle((uint)low << 16), range = BitConverter.UInt32BitsToSingle((uint)high << 16) - floor;
            byte[] packed = new byte[TopKWire.ChunkBytes(kept)];
            BinaryPrimitives.WriteUInt16LittleEndian(packed, low);
            BinaryPrimitives.WriteUInt16LittleEndian(packed.AsSpan(2), high);
            for (int k = 0; k < kept; k++)
            {
                float value = chunk[places[k]];
                int upper = Math.Abs(value) - floor >= 0.5f * range ? 1 : 0, sign = value < 0 ? 1 : 0;
                SetBits(packed.AsSpan(4), 12 * k, places[k], 12);
                SetBits(packed.AsSpan(4 + (kept / 2 * 3)), 2 * k, sign + (2 * upper), 2);
                chunk[places[k]] = value - ((sign == 1 ? -1 : 1) * MathF.FusedMultiplyAdd(upper == 1 ? 0.75f : 0.25f, range, floor));
            }

            wire.AddRange(packed);
            chunk.AsSpan(0, part.Length).CopyTo(part);
            part.CopyTo(a, (wire.Count / packed.Length - 1) * TopKWire.Chunk);
        }

        return ([.. wire], a);
    }

    /// <summary>The vector that a wire stands for.</summary>
    public static float[] TopKUnpack(byte[] wire, int kept, int count)
    {
        float[] values = new float[count];
        int chunk = 0;
        foreach (byte[] packed in wire.Chunk(TopKWire.ChunkBytes(kept)))
        {
            float floor = BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(packed) << 16);
            float range = BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(packed.AsSpan(2)) << 16) - floor;
            for (int k = 0; k < kept; k++)
            {
                int at = (chunk * TopKWire.Chunk) + GetBits(packed.AsSpan(4), 12 * k, 12), code = GetBits(packed.AsSpan(4 + (kept / 2 * 3)), 2 * k, 2);
                if (at < count)
                {
                    values[at] = ((code & 1) == 1 ? -1 : 1) * MathF.FusedMultiplyAdd((code & 2) == 2 ? 0.75f : 0.25f, range, floor);
                }
            }

            chunk++;
        }

        return values;
    }

    static void SetBits(Span<byte> to, int first, int value, int count)
    {
        for (int b = 0; b < count; b++)
        {
            to[(first + b) / 8] |= (byte)(((value >> b) & 1) << ((first + b) % 8));
        }
    }

    static int GetBits(ReadOnlySpan<byte> from, int first, int count)
    {
        int value = 0;
        for (int b = 0; b < count; b++)
        {
            value |= ((from[(first + b) / 8] >> ((first + b) % 8)) & 1) << b;
        }

        return value;
    }
}
