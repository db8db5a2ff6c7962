// Which sample a training step reads: a pure function of (seed, step, index), so that nobody has to remember a position.
//   g = step*samplesPerStep + index      pass = g / N      sample = P_(seed,pass)(g mod N)
// P is a keyed permutation of [0, N): a balanced Feistel network on the next even power of two, walked along its cycle
// until it lands below N (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Each pass has its own key.
// Invariant: every pass visits every sample exactly once, whatever the number of stages, replicas or resumed starts.
using System.Numerics;

namespace OrionNative.Engine.Data;

/// <summary>The order in which samples are drawn.</summary>
readonly struct SampleOrder
{
    const int Rounds = 6;

    readonly ulong _seed;
    readonly long _sampleCount;
    readonly long _samplesPerStep;
    readonly int _halfBits;

    /// <summary>An order over <paramref name="sampleCount"/> samples, <paramref name="samplesPerStep"/> of them a step
    /// (microbatches times microbatch size, over all replicas).</summary>
    public SampleOrder(ulong seed, long sampleCount, long samplesPerStep)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(sampleCount);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(samplesPerStep);
        _seed = seed;
        _sampleCount = sampleCount;
        _samplesPerStep = samplesPerStep;
        int bits = 64 - BitOperations.LeadingZeroCount((ulong)(sampleCount - 1));
        _halfBits = Math.Max(1, (bits + 1) / 2);
    }

    /// <summary>The sample in <c>[0, sampleCount)</c> that is number <paramref name="index"/> of step <paramref name="step"/>
    /// (both from 0).</summary>
    public long At(long step, long index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, _samplesPerStep);
        long drawn = checked(step * _samplesPerStep + index);
        return Permute(Mix(_seed + Mix((ulong)(drawn / _sampleCount))), drawn % _sampleCount);
    }

    /// <summary>The pass over the data, from 0, that this draw belongs to.</summary>
    public long Pass(long step, long index) => checked(step * _samplesPerStep + index) / _sampleCount;

    long Permute(ulong key, long position)
    {
        ulong mask = (1UL << _halfBits) - 1;
        ulong value = (ulong)position;
        do
        {
            ulong left = value >> _halfBits, right = value & mask;
            for (uint round = 0; round < Rounds; round++)
                (left, right) = (right, left ^ (Mix((key + (round + 1) * 0xD1B54A32D192ED03) ^ right) & mask));
            value = (left << _halfBits) | right;
        }
        while (value >= (ulong)_sampleCount);
        return (long)value;
    }

    // The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection on 64 bits with full avalanche.
    static ulong Mix(ulong x)
    {
        x += 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
