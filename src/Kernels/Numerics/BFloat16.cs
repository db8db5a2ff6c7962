// bfloat16 is the upper half of a single. Two ways down: to the nearest, ties to even, where a value is read once; and
// stochastically, up with the probability of the discarded fraction, where many small updates add up and must not get lost.
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

    /// <summary>Exact.</summary>
    public static float ToSingle(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);
}
