// Training on the software CUDA device: one result to the bit whatever the cut, the recomputation or the replay, no waiting inside a
// step, no allocation.
using OrionNative.Engine.Run;
using OrionNative.Engine.Tests.Training;
using OrionNative.Engine.Training;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Tests.Cuda;

[Collection("softcuda")]
public class SoftwareTrainingTests
{
    const int Steps = 4;

    [Theory]
    [InlineData(BoundaryKind.None)]
    [InlineData(BoundaryKind.Anchored)]
    public void Training_CutOrRecomputedOrAgain_GivesTheSameBits(BoundaryKind boundary)
    {
        using CudaDevice device = SoftwareDevice.Open();
        (double[] Losses, string Hash) first = Train(device, boundary, []);
        foreach ((int[] cuts, RecomputeKind recompute) in new (int[], RecomputeKind)[]
                 { ([], RecomputeKind.None), ([1], RecomputeKind.None), ([], RecomputeKind.Norm), ([1], RecomputeKind.Block) })
        {
            (double[] losses, string hash) = Train(device, boundary, cuts, recompute);
            Assert.Equal(first.Losses, losses);
            Assert.Equal(first.Hash, hash);
        }
    }

    static (double[] Losses, string Hash) Train(CudaDevice device, BoundaryKind boundary, int[] cuts, RecomputeKind recompute = RecomputeKind.None)
    {
        RunConfig run = SoftwareDevice.Run() with { Recompute = recompute };
        ModelConfig model = SoftwareDevice.Model(boundary);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence), cuts);
        double[] losses = [.. Enumerable.Range(0, Steps).Select(_ => trainer.Step().Loss)];
        return (losses, trainer.WeightsHash());
    }

    [Fact]
    public void Step_OnceWarm_ReplaysGraphsAndWaitsOnlyForItsResult()
    {
        using CudaDevice device = SoftwareDevice.Open();
        long[] waits = [.. new[] { 2, 5 }.Select(microbatches => WaitsOfOneStep(device, microbatches))];
        // losses and norms: a wait for the stream and a copy each
        Assert.Equal([4, 4], waits);
    }

    static long WaitsOfOneStep(CudaDevice device, int microbatches)
    {
        ModelConfig model = SoftwareDevice.Model();
        RunConfig run = SoftwareDevice.Run(microbatches: microbatches);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        trainer.Step();
        trainer.Step();
        long waits = device.HostWaits, launches = device.GraphLaunches, bytes = GC.GetAllocatedBytesForCurrentThread(), free = device.FreeBytes;
        trainer.Step();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - bytes);
        Assert.Equal(free, device.FreeBytes);
        Assert.Equal(2 * microbatches, device.GraphLaunches - launches);
        return device.HostWaits - waits;
    }

    [Fact]
    public void Model_WithSizesThatNoKernelTakes_IsRefusedByName()
    {
        using CudaDevice device = SoftwareDevice.Open();
        ModelConfig model = SoftwareDevice.Model();
        foreach ((ModelConfig wrong, string named) in new[]
                 { (model with { HeadWidth = 10 }, "heads of width 32, 64, 128"), (model with { FeedForward = 50 }, "feed-forward width is 50"), (model with { Width = 36 }, "width is 36") })
        {
            string message = Assert.Throws<ConfigurationException>(() => new Trainer(wrong, SoftwareDevice.Run(), device, new NoisyRule(67, 12))).Message;
            Assert.Contains(named, message, StringComparison.Ordinal);
            Assert.Contains("softcuda:0 (software", message, StringComparison.Ordinal);
        }
    }
}
