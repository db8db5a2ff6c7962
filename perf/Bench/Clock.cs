// How things are timed here: candidates take turns within one run, so that what disturbs the machine disturbs all of them
// alike, and what is reported is the ratio of medians.
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace OrionNative.Bench;

static partial class Clock
{
    const int ProcessCpuClock = 2;

    /// <summary>Before a sample: threads of the candidate before it may still spin (OpenBLAS's do, for some 20 ms).</summary>
    const int SettleMilliseconds = 40;

    /// <summary>ORION_BENCH_CLOCK=cpu counts processor time: for work on kernels with one thread while the machine is shared.</summary>
    static readonly bool _processorTime = Environment.GetEnvironmentVariable("ORION_BENCH_CLOCK") == "cpu";

    /// <summary>What is counted, for records.</summary>
    public static string Name => _processorTime ? "processor time" : "wall time";

    /// <summary>Seconds per call of each candidate, <paramref name="samples"/> of them, taken alternately after one warm-up each.</summary>
    public static double[][] Alternately(int samples, double secondsASample, params Action[] candidates)
    {
        double[][] times = [.. candidates.Select(_ => new double[samples])];
        int[] calls = [.. candidates.Select(candidate =>
        {
            candidate();
            double once = Time(candidate, 1);
            return Math.Max(1, (int)(secondsASample / once));
        })];
        for (int sample = 0; sample < samples; sample++)
        {
            for (int i = 0; i < candidates.Length; i++)
            {
                Thread.Sleep(SettleMilliseconds);
                times[i][sample] = Time(candidates[i], calls[i]);
            }
        }

        return times;
    }

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    static double Time(Action action, int calls)
    {
        double start = Now();
        for (int i = 0; i < calls; i++)
        {
            action();
        }

        return (Now() - start) / calls;
    }

    static double Now()
    {
        if (!_processorTime)
        {
            return Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency;
        }

        _ = clock_gettime(ProcessCpuClock, out Timespec time);
        return time.Seconds + (time.Nanoseconds * 1e-9);
    }

    struct Timespec
    {
        public long Seconds, Nanoseconds;
    }

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, out Timespec time);
}
