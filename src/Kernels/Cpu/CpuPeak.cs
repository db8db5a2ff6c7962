// What this processor can do at best: independent fused multiply-adds that never leave the registers, on every thread at
// once. The figure under model FLOP utilisation on a CPU, and under every "of peak" in perf/records.
using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace OrionNative.Kernels.Cpu;

/// <summary>Measured ceilings of the processor.</summary>
public static unsafe class CpuPeak
{
    const int Sums = 12, QuietMilliseconds = 30, LongestMilliseconds = 250;
    const long Iterations = 100_000;

    /// <summary>10^9 FLOP a second of single-precision fused multiply-adds (2 FLOP a lane) on <paramref name="threads"/> threads
    /// together: the best of many short trials, until none is better for 30 ms. Takes 30 to 250 ms.</summary>
    public static double MeasureFmaGflops(int threads)
    {
        using ThreadTeam team = new(threads);
        return MeasureFmaGflops(team, VectorPathChoice.Widest);
    }

    internal static double MeasureFmaGflops(ThreadTeam team, VectorPath path)
    {
        delegate*<void*, int, void> body = path switch
        {
            VectorPath.Vector512 => &Loop<Vec512>,
            VectorPath.Vector256 => &Loop<Vec256>,
            _ => &Loop<Vec128>,
        };
        double flop = 2.0 * Sums * ((int)path / 32) * Iterations * team.Count, best = 0;
        float* results = stackalloc float[team.Count];
        // trials far shorter than a scheduler's slice: on a busy machine some of them still have every processor to themselves
        long began = Stopwatch.GetTimestamp(), improved = began;
        while (Stopwatch.GetElapsedTime(improved).TotalMilliseconds < QuietMilliseconds && Stopwatch.GetElapsedTime(began).TotalMilliseconds < LongestMilliseconds)
        {
            long start = Stopwatch.GetTimestamp();
            team.Run(team.Count, results, body);
            double rate = flop / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e9;
            if (rate > 1.01 * best)
            {
                improved = Stopwatch.GetTimestamp();
            }

            best = Math.Max(best, rate);
        }

        return best;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Loop<TVec>(void* results, int item) where TVec : struct, IVec<TVec>
    {
        TVec x = TVec.All(0.999f), y = TVec.All(0.001f);
        TVec s0 = TVec.All(0f), s1 = TVec.All(0f), s2 = TVec.All(0f), s3 = TVec.All(0f), s4 = TVec.All(0f), s5 = TVec.All(0f);
        TVec s6 = TVec.All(0f), s7 = TVec.All(0f), s8 = TVec.All(0f), s9 = TVec.All(0f), s10 = TVec.All(0f), s11 = TVec.All(0f);
        for (long i = 0; i < Iterations; i++)
        {
            s0 = TVec.MultiplyAdd(s0, x, y);
            s1 = TVec.MultiplyAdd(s1, x, y);
            s2 = TVec.MultiplyAdd(s2, x, y);
            s3 = TVec.MultiplyAdd(s3, x, y);
            s4 = TVec.MultiplyAdd(s4, x, y);
            s5 = TVec.MultiplyAdd(s5, x, y);
            s6 = TVec.MultiplyAdd(s6, x, y);
            s7 = TVec.MultiplyAdd(s7, x, y);
            s8 = TVec.MultiplyAdd(s8, x, y);
            s9 = TVec.MultiplyAdd(s9, x, y);
            s10 = TVec.MultiplyAdd(s10, x, y);
            s11 = TVec.MultiplyAdd(s11, x, y);
        }

        TVec sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;
        ((float*)results)[item] = TVec.Sum(sum);
    }
}
