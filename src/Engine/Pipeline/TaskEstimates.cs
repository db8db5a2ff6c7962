// What the tasks of a compute thread beside microbatches take at most, before any has been measured.
//   seconds = cold + bytes / 50 MB/s + operations / (5 % of the peak)          P parameters, R replicas, C width
//   sum   4 P (R + 1) bytes      apply   16 P bytes, AdamW 20 P, Muon 30 C P operations      load, fill, copy, save   12 P bytes
//   share, clear   4 P bytes
// Muon: five Newton-Schulz steps of three products over a matrix whose smaller side is at most C. The rates are those of a slow
// disk and of a badly used processor: a hang is eight times the estimate, and an honest peer must never pass for one.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline;

static class TaskEstimates
{
    const double BytesPerSecond = 50e6;
    const double PeakShare = 0.05;

    /// <summary>The runtime compiles methods as they are first called, beside other processes that do the same.</summary>
    const double ColdSeconds = 2;

    /// <summary>A device apart compiles its kernels too.</summary>
    const double ColdSecondsApart = 30;

    /// <summary>Tells a clock what to expect of a stage.</summary>
    public static void Set(TaskClock clock, long parameters, ModelConfig model, RunConfig run, double peakGigaflops, bool isApart)
    {
        double state = Seconds(12.0 * parameters, 0);
        foreach (ComputeTask task in (ComputeTask[])[ComputeTask.Load, ComputeTask.Fill, ComputeTask.Copy, ComputeTask.Save])
        {
            clock.Expect(task, state);
        }

        double operations = run.Optimizer == OptimizerKind.Muon ? 30.0 * model.Width : 20;
        clock.Expect(ComputeTask.Apply, Seconds(16.0 * parameters, operations * parameters));
        clock.Expect(ComputeTask.Sum, Seconds(4.0 * parameters * (run.Replicas + 1), 0));
        clock.Expect(ComputeTask.Share, Seconds(4.0 * parameters, 0));
        clock.Expect(ComputeTask.Clear, Seconds(4.0 * parameters, 0));

        double Seconds(double bytes, double flop) =>
            (isApart ? ColdSecondsApart : ColdSeconds) + (bytes / BytesPerSecond) + (flop / (PeakShare * 1e9 * peakGigaflops));
    }
}
