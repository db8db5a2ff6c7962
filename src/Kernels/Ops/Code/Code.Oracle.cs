// The wire formats by their definition, byte by byte.
using System.Buffers.Binary;

namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>The packed bytes of a code [rows, width] of single-precision values.</summary>
    public static byte[] CodePack(float[] code, WireFormat format, int rows, int width)
    {
        byte[] wire = new byte[CodeWire.Bytes(format, rows, width)];
        for (int i = 0; i < code.Length; i++)
        {
            switch (format)
            {
                case WireFormat.Float32:
                    BinaryPrimitives.WriteSingleLittleEndian(wire.AsSpan(4 * i), code[i]);
                    break;
                case WireFormat.BFloat16:
                    BinaryPrimitives.WriteUInt16LittleEndian(wire.AsSpan(2 * i), NearestBFloat16(code[i]));
                    break;
                default:
                    float[] row = code[(i / width * width)..((i / width * width) + width)];
                    double largest = row.Max(value => Math.Abs((double)value));
                    ushort scale = 0;
                    while (BitConverter.UInt32BitsToSingle((uint)scale << 16) * 127.0 < largest)
                    {
                        scale++;
                    }

                    double step = BitConverter.UInt32BitsToSingle((uint)scale << 16);
                    BinaryPrimitives.WriteUInt16LittleEndian(wire.AsSpan(i / width * (width + 2)), scale);
                    wire[(i / width * (width + 2)) + 2 + (i % width)] =
                        (byte)(sbyte)(step == 0 ? 0 : Math.Round((float)(code[i] / step), MidpointRounding.ToEven));
                    break;
            }
        }

        return wire;
    }

    /// <summary>The bfloat16 that lies nearest; of two equally near the one whose last bit is 0.</summary>
    public static ushort NearestBFloat16(float value)
    {
        ushort below = (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16);
        double low = BitConverter.UInt32BitsToSingle((uint)below << 16), high = BitConverter.UInt32BitsToSingle((uint)(below + 1) << 16);
        double toLow = Math.Abs(value - low), toHigh = Math.Abs(high - value);
        return toLow < toHigh || (toLow == toHigh && (below & 1) == 0) ? below : (ushort)(below + 1);
    }
}
