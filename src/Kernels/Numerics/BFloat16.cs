// bfloat16 is the upper half of a single. Three ways down: to the nearest, ties to even, where a value is read once;
// stochastically, up with the probability of the discarded fraction, where many small updates add up and must not get lost;
// and split, the nearest with the remainder kept beside it, where the single itself must come back (docs/decisions/0088).
namespace OrionNative.Kernels.Numerics;

/// <summary>Conversions of one number; the kernels convert whole rows by the same rules.</summary>
public static class BFloat16
{
    /// <summary>The nearest bfloat16, ties to even; a NaN stays a NaN, beyond the largest is infinity.</summary>
    public static ushort FromSingle(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value)
            ? (ushort)((bits | 0x400000u) >> 16)
            : (ushort)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
    }

    /// <summary>One of the two neighbours, the further one with probability equal to the fraction that is cut off: with
    /// <paramref name="random"/> uniform in [0, 2^16) the expected value is the value itself.</summary>
    public static ushort FromSingleStochastic(float value, uint random)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsFinite(value) ? (ushort)((bits + (random & 0xFFFFu)) >> 16) : FromSingle(value);
    }

    /// <summary>An exact master in two halves: the nearest bfloat16 (a tie goes away from zero, unlike <see cref="FromSingle"/>: to even,
    /// a remainder of 2^15 would stand for two masters) and, as a signed number, what is left of the bits. A NaN becomes the quiet one.</summary>
    public static (ushort High, ushort Low) Split(float master)
    {
        uint bits = float.IsNaN(master) ? 0x7FC0_0000u : BitConverter.SingleToUInt32Bits(master);
        return ((ushort)((bits + 0x8000u) >> 16), (ushort)bits);
    }

    /// <summary>The master of two halves: bits = high*2^16 + low, low in [-2^15, 2^15).</summary>
    public static float Join(ushort high, ushort low) => BitConverter.UInt32BitsToSingle(((uint)high << 16) + (uint)(short)low);

    /// <summary>Exact.</summary>
    public static float ToSingle(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);
}
