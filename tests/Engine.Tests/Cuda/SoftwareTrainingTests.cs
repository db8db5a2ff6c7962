// Training on the software CUDA device: one result to the bit whatever the cut, the recomputation or the replay, no waiting inside a
// step, no allocation.
using System.Runtime.InteropServices;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Tests.Training;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Tests.Cuda;

[Collection("softcuda")]
public class SoftwareTrainingTests
{
    const int Steps = 4;

    [Theory]
    [InlineData(BoundaryKind.None, WireFormat.BFloat16)]
    [InlineData(BoundaryKind.Anchored, WireFormat.Int8)]
    public void Training_CutOrRecomputedOrAgain_GivesTheSameBits(BoundaryKind boundary, WireFormat wire)
    {
        using CudaDevice device = SoftwareDevice.Open();
        (double[] Losses, string Hash) first = Train(device, boundary, [], wire);
        foreach ((int[] cuts, RecomputeKind recompute) in new (int[], RecomputeKind)[]
                 { ([], RecomputeKind.None), ([1], RecomputeKind.None), ([], RecomputeKind.Norm), ([1], RecomputeKind.Block) })
        {
            (double[] losses, string hash) = Train(device, boundary, cuts, wire, recompute);
            Assert.Equal(first.Losses, losses);
            Assert.Equal(first.Hash, hash);
        }
    }

    static (double[] Losses, string Hash) Train(CudaDevice device, BoundaryKind boundary, int[] cuts, WireFormat wire, RecomputeKind recompute = RecomputeKind.None)
    {
        RunConfig run = SoftwareDevice.Run() with { Recompute = recompute, Wire = wire };
        ModelConfig model = SoftwareDevice.Model(boundary);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence), cuts);
        double[] losses = [.. Enumerable.Range(0, Steps).Select(_ => trainer.Step().Loss)];
        return (losses, trainer.WeightsHash());
    }

    [Theory]
    [InlineData(OptimizerKind.AdamW)]
    [InlineData(OptimizerKind.Muon)]
    public void Training_WithTheOptimizerOffloaded_GivesTheSameBitsInLessDeviceMemory(OptimizerKind optimizer)
    {
        using CudaDevice device = SoftwareDevice.Open();
        using CpuDevice cpu = new(1);
        (string hash, long used) = TrainOffloaded(device, optimizer, OffloadKind.None);
        (string offloaded, long usedOffloaded) = TrainOffloaded(device, optimizer, OffloadKind.Optimizer);
        Assert.Equal(hash, offloaded);
        // planned: the state is gone from the device; staging of at most four pieces of 32 MiB comes with the first step
        Assert.True(usedOffloaded < used, $"{usedOffloaded} bytes offloaded, {used} not");
        Assert.Equal(TrainOffloaded(cpu, optimizer, OffloadKind.None).Hash, TrainOffloaded(cpu, optimizer, OffloadKind.Optimizer).Hash);
    }

    static (string Hash, long Used) TrainOffloaded(IDevice device, OptimizerKind optimizer, OffloadKind offload)
    {
        ModelConfig model = SoftwareDevice.Model();
        RunConfig run = SoftwareDevice.Run(optimizer) with { Offload = offload };
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        for (int i = 0; i < Steps; i++)
        {
            trainer.Step();
        }

        MemoryPlan plan = Trainer.Plan(model, run, device);
        Assert.Equal(offload == OffloadKind.Optimizer, plan.Host > 0);
        return (SmallRuns.StateHash(trainer), plan.Total);
    }

    // warm, so that the step that fails is replayed from graphs like any other
    [Theory]
    [InlineData(OptimizerKind.AdamW, OffloadKind.None)]
    [InlineData(OptimizerKind.AdamW, OffloadKind.Optimizer)]
    [InlineData(OptimizerKind.Muon, OffloadKind.None)]
    public void Step_NotFinite_MovesNothingOnTheDevice(OptimizerKind optimizer, OffloadKind offload)
    {
        using CudaDevice device = SoftwareDevice.Open();
        ModelConfig model = SoftwareDevice.Model();
        RunConfig run = SoftwareDevice.Run(optimizer) with { Offload = offload };
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        for (int i = 0; i < Steps; i++)
        {
            trainer.Step();
        }

        ParameterSet parameters = trainer.Parameters[0];
        Parameter head = parameters.All[^1];
        float[] good = new float[1];
        parameters.Read(head, 0, good);
        parameters.Write(head, 0, [float.PositiveInfinity]);
        string before = SmallRuns.StateHash(trainer);
        NonFiniteException error = Assert.Throws<NonFiniteException>(() => trainer.Step());
        Assert.Equal((Steps + 1, "loss"), (error.Step, error.Quantity));
        Assert.Equal(before, SmallRuns.StateHash(trainer));

        // and the step after it is a step as any other
        parameters.Write(head, 0, good);
        Assert.Equal(Steps + 1, trainer.Step().Step);
        Assert.NotEqual(before, SmallRuns.StateHash(trainer));
    }

    [Fact]
    public void HashWeights_OfEqualMasters_IsOneOnCpuAndCuda()
    {
        ModelConfig model = SoftwareDevice.Model(BoundaryKind.Anchored);
        RunConfig run = SoftwareDevice.Run();
        StageRange range = StageRange.Cut(model, model.Boundaries)[1];
        using CudaDevice software = SoftwareDevice.Open();
        using CpuDevice cpu = new(2);
        using StageWorker stage = new(model, range, run, cpu, slots: 1), replica = new(model, range, run, software, slots: 1);
        stage.Initialize(run.Seed);
        replica.Initialize(run.Seed);
        ulong hash = stage.HashWeights();
        Assert.Equal(hash, replica.HashWeights());

        // one bit of the low word of the last weight
        StateTensor last = replica.State.Last(tensor => tensor.IsWeight);
        float[] value = new float[1];
        last.Read(last.Count - 1, value);
        last.Write(last.Count - 1, [MathF.BitIncrement(value[0])]);
        Assert.NotEqual(hash, replica.HashWeights());
        last.Write(last.Count - 1, value);
        Assert.Equal(hash, replica.HashWeights());
    }

    [Fact]
    public void Step_OnceWarm_ReplaysGraphsAndWaitsOnlyForItsResult()
    {
        using CudaDevice device = SoftwareDevice.Open();
        long[] waits = [.. new[] { 2, 5 }.Select(microbatches => WaitsOfOneStep(device, microbatches))];
        // norm and loss, when all is done: a wait for the stream and a copy
        Assert.Equal([2, 2], waits);
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
        // forward and backward of each microbatch; zeroed gradients, norms and the optimizer once
        Assert.Equal((2 * microbatches) + 3, device.GraphLaunches - launches);
        return device.HostWaits - waits;
    }

    // The driver's own record of what the host asked of it in a warm step: it queues everything, the optimizer too, without asking how
    // far the device is, and waits for the result.
    [Theory]
    [InlineData(OffloadKind.None)]
    [InlineData(OffloadKind.Activations)]
    public unsafe void Step_OnceWarm_TraceShowsNoWaitInside(OffloadKind offload)
    {
        using CudaDevice device = SoftwareDevice.Open();
        ModelConfig model = SoftwareDevice.Model();
        RunConfig run = SoftwareDevice.Run(microbatches: 3) with { Offload = offload };
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        trainer.Step();
        trainer.Step();
        delegate* unmanaged[Cdecl]<int, byte*> trace = CudaLibraries.Software.Driver.softTrace;
        trace(1);
        trainer.Step();
        string[] calls = Marshal.PtrToStringUTF8((nint)trace(0))!.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        // ids and targets go up, forward and backward are a graph each, and the loss is summed by two kernels
        string[] microbatch = ["cuMemcpyHtoDAsync x2", "cuGraphLaunch x2", "cuLaunchKernel x2"];
        string[] result = ["!cuStreamSynchronize", "!cuMemcpyDtoH"];
        Assert.Equal(
            ["cuGraphLaunch", .. microbatch, .. microbatch, .. microbatch, "cuGraphLaunch", "cuMemcpyHtoDAsync x3", "cuGraphLaunch", .. result], calls);
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
