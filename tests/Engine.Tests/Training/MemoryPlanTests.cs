// The plan that is printed before a run, beside what the system says the process then took.
using System.Globalization;
using OrionNative.Engine.Data;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Planning;

namespace OrionNative.Engine.Tests.Training;

[CollectionDefinition(nameof(MemoryPlanTests), DisableParallelization = true)]
[Collection(nameof(MemoryPlanTests))]
public class MemoryPlanTests
{
    [Theory]
    [InlineData(RecomputeKind.None, OptimizerKind.AdamW)]
    [InlineData(RecomputeKind.Block, OptimizerKind.Muon)]
    public void Plan_OfATrainer_IsWithinATenthOfThePeak(RecomputeKind recompute, OptimizerKind optimizer)
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Skip("peak memory is read from /proc, which only Linux has");
        }

        ModelConfig model = new() { Vocabulary = 2048, Width = 384, Layers = 6, QueryHeads = 6, KeyValueHeads = 2, HeadWidth = 64, FeedForward = 1024, Context = 256 };
        RunConfig run = new() { Recompute = recompute, Optimizer = optimizer, MicrobatchSize = 8, Sequence = 256, Steps = 10 };
        using CpuDevice device = new(2);
        MemoryPlan plan = Trainer.Plan(model, run, device);
        GC.Collect();
        File.WriteAllText("/proc/self/clear_refs", "5");
        long before = Status("VmRSS:");
        using (Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence)))
        {
            trainer.Step();
            trainer.Step();
        }

        long peak = Status("VmHWM:");
        Assert.True(plan.Total > 100_000_000, $"too small to measure: {plan}");
        Assert.InRange(before + plan.Total, 0.9 * peak, 1.1 * peak);
        Assert.InRange(plan.Total, 0.9 * (peak - before), 1.1 * (peak - before));
    }

    [Fact]
    public void Plan_OfAPeersStage_IsWithinATenthOfWhatItHolds()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Skip("memory is read from /proc, which only Linux has");
        }

        ModelConfig model = new() { Vocabulary = 512, Width = 384, Layers = 6, QueryHeads = 6, KeyValueHeads = 2, HeadWidth = 64, FeedForward = 1024, Context = 256 };
        RunConfig run = new() { Stages = 2, Replicas = 2, Microbatches = 8, MicrobatchSize = 4, Sequence = 256, Boundary = BoundaryKind.None };
        using CpuDevice device = new(1);
        PlannedRun planned = new(new ResolvedRun(run, model, ByteTokenizer.Instance));
        StageRange range = new(0, 3, 6);
        (MemoryPlan plan, long needed, long buffers) = Planner.MemoryOf(planned, device, range, stage: 0);
        GC.Collect();
        long before = Status("VmRSS:");
        using (StageWorker worker = new(model, range, run, device, plan.Slots))
        {
            // zeroed when allocated, so everything is there
            long held = Status("VmRSS:") - before;
            Assert.True(plan.Total > 100_000_000, $"too small to measure: {plan}");
            Assert.InRange(plan.Total, 0.9 * held, 1.1 * held);
            // a pool of slots, and the other replica's gradient of four bytes a parameter
            long share = 4 * planned.ParametersOf(range);
            Assert.InRange(buffers - PeerWork.PoolBytes(model, run), share, share + 8192);
            Assert.Equal(plan.Total + buffers, needed);
        }
    }

    [Fact]
    public void Plan_WithMoreRecomputation_IsSmaller()
    {
        ModelConfig model = ModelPresets.Get("30m");
        RunConfig run = new() { MicrobatchSize = 4, Sequence = 512 };
        using CpuDevice device = new(1);
        long none = Trainer.Plan(model, run, device).Slot;
        long norm = Trainer.Plan(model, run with { Recompute = RecomputeKind.Norm }, device).Slot;
        long block = Trainer.Plan(model, run with { Recompute = RecomputeKind.Block }, device).Slot;
        long rows = 4 * 512, width = model.Width;
        Assert.InRange(none - norm, 4L * 2 * rows * width * model.Layers, 4L * 2 * rows * width * model.Layers + 4096);
        Assert.InRange(block, 4 * rows * width * model.Layers, 4 * rows * width * (model.Layers + 3));
    }

    static long Status(string key)
    {
        string line = File.ReadLines("/proc/self/status").First(candidate => candidate.StartsWith(key, StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2].Split('\t')[^1], CultureInfo.InvariantCulture);
    }
}
