// Do two replicas hold the same bits? A sum modulo 2^64 of terms that mix each weight's bits with its place, so it can be taken in any
// order, by any number of threads, on any device:   hash = sum over i of mix(bits(w_i) + (i + 1) * 0x9E3779B97F4A7C15)
// mix is splitmix64's finalizer (Steele, Lea, Flood 2014). It finds accidents, not forgeries: what peers must not be able to forge has
// SHA-256 or BLAKE3. Weights are exact fp32 masters, so a CPU peer (Float32) and a GPU peer (BFloat16 and Low16) get one hash.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>Adds what a weight tensor contributes to the hash at `hash`, 8 bytes of device memory that the caller zeroed: its first
    /// element is weight number <paramref name="first"/>. Weight is Float32 with an empty low, or BFloat16 with its Low16, without gaps.</summary>
    void HashWeights(Tensor weight, Tensor low, long first, nint hash);
}

/// <summary>The hash of weights, value by value.</summary>
public static class WeightHash
{
    const ulong Place = 0x9E37_79B9_7F4A_7C15;

    /// <summary>What these values add to a hash when the first of them is weight number `first`.</summary>
    public static ulong Of(ReadOnlySpan<float> values, long first)
    {
        ulong sum = 0, place = ((ulong)first + 1) * Place;
        foreach (uint bits in MemoryMarshal.Cast<float, uint>(values))
        {
            sum += Mix(bits + place);
            place += Place;
        }

        return sum;
    }

    static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9;
        z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB;
        return z ^ (z >> 31);
    }
}
