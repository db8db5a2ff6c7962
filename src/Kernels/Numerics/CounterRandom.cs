// Random numbers as a function: the i-th number of a stream depends on (seed, stream, i) alone, so weights come out the same
// however the model is cut, and any part can be drawn again. Philox4x32-10: ten rounds of two 32x32 multiplications, keyed by
// the seed, on a counter of (i/4, stream).                            Salmon et al., "Parallel random numbers", SC 2011
// Normal numbers by Box and Muller from pairs of the uniform ones, in double, rounded once.
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace OrionNative.Kernels.Numerics;

/// <summary>One stream of random numbers.</summary>
/// <param name="Seed">Of the run.</param>
/// <param name="Stream">Which stream of the run; see <see cref="StreamOf"/>.</param>
public readonly record struct CounterRandom(ulong Seed, ulong Stream)
{
    const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57;
    const double TwoToMinus32 = 1.0 / (1L << 32);
    const uint Weyl0 = 0x9E3779B9, Weyl1 = 0xBB67AE85;

    /// <summary>The stream of a name: the first 8 bytes of its SHA-256, little-endian.</summary>
    public static ulong StreamOf(string name) =>
        BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(name)));

    /// <summary>Numbers 4*index to 4*index+3 of the stream, 32 random bits each.</summary>
    public (uint A, uint B, uint C, uint D) Bits(ulong index)
    {
        uint a = (uint)index, b = (uint)(index >> 32), c = (uint)Stream, d = (uint)(Stream >> 32);
        uint key0 = (uint)Seed, key1 = (uint)(Seed >> 32);
        for (int round = 0; round < 10; round++)
        {
            ulong product0 = (ulong)Multiplier0 * a, product1 = (ulong)Multiplier1 * c;
            (a, b, c, d) = ((uint)(product1 >> 32) ^ b ^ key0, (uint)product1, (uint)(product0 >> 32) ^ d ^ key1, (uint)product0);
            key0 += Weyl0;
            key1 += Weyl1;
        }

        return (a, b, c, d);
    }

    /// <summary>Number i of the stream as a uniform number in [0, 1), a multiple of 2^-24.</summary>
    public float Uniform(long i)
    {
        (uint a, uint b, uint c, uint d) = Bits((ulong)i / 4);
        uint bits = (i & 3) switch { 0 => a, 1 => b, 2 => c, _ => d };
        return (bits >> 8) * (1f / (1 << 24));
    }

    /// <summary>Numbers start..start+length-1 of the stream, normally distributed with the standard deviation.</summary>
    public void FillNormal(Span<float> destination, long start, float standardDeviation)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        Span<float> four = stackalloc float[4];
        for (int i = 0; i < destination.Length;)
        {
            (uint a, uint b, uint c, uint d) = Bits((ulong)(start + i) / 4);
            Pair(a, b, standardDeviation, out four[0], out four[1]);
            Pair(c, d, standardDeviation, out four[2], out four[3]);
            int first = (int)((start + i) & 3);
            int count = Math.Min(4 - first, destination.Length - i);
            four.Slice(first, count).CopyTo(destination[i..]);
            i += count;
        }
    }

    static void Pair(uint bits0, uint bits1, float standardDeviation, out float first, out float second)
    {
        double radius = standardDeviation * Math.Sqrt(-2.0 * Math.Log((bits0 + 1.0) * TwoToMinus32));
        (double sin, double cos) = Math.SinCos(bits1 * (2.0 * Math.PI * TwoToMinus32));
        first = (float)(radius * cos);
        second = (float)(radius * sin);
    }
}
