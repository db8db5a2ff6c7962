// Kept activations in host memory: the bits of those that stay, in less device memory, and each wait that it takes is missed when it is
// taken away. Copies land as late as a card may let them (softSetLateCopies), so that what nobody waited for is still under way.
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Tests.Training;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Tests.Cuda;

[Collection("softcuda")]
public sealed class OffloadTests : IDisposable
{
    const int Steps = 3;

    static readonly ModelConfig _model = SoftwareDevice.Model(BoundaryKind.Anchored) with { Layers = 5, Boundaries = [2] };

    public OffloadTests() => SetLateCopies(true);

    static unsafe void SetLateCopies(bool late)
    {
        if (CudaLibraries.Software.NotSupportedReason is null)
        {
            CudaLibraries.Software.Driver.softSetLateCopies(late ? 1 : 0);
        }
    }

    [Theory]
    [InlineData(RecomputeKind.None)]
    [InlineData(RecomputeKind.Norm)]
    [InlineData(RecomputeKind.Block)]
    public void Training_ActivationsOffloaded_GivesTheSameBitsInLessDeviceMemory(RecomputeKind recompute)
    {
        using CudaDevice device = SoftwareDevice.Open();
        RunConfig run = SoftwareDevice.Run() with { Recompute = recompute };
        (string hash, MemoryPlan plan) = Train(device, run);
        (string offloaded, MemoryPlan lighter) = Train(device, run with { Offload = OffloadKind.Activations });
        Assert.Equal(hash, offloaded);
        // of five blocks two are on the device, and what all keep is on the host
        Assert.InRange(plan.Total - lighter.Total, lighter.Host / 5, lighter.Host);
        Assert.Contains("on the host", lighter.ToString(), StringComparison.Ordinal);

        // everything that can be offloaded, with copies that land at once
        SetLateCopies(false);
        Assert.Equal(hash, Train(device, run with { Offload = OffloadKind.All }).Hash);
    }

    static (string Hash, MemoryPlan Plan) Train(IDevice device, RunConfig run)
    {
        using Trainer trainer = new(_model, run, device, new NoisyRule(_model.Vocabulary, run.Sequence), cuts: []);
        for (int i = 0; i < Steps; i++)
        {
            trainer.Step();
        }

        return (trainer.WeightsHash(), Trainer.Plan(_model, run, device, cuts: []));
    }

    [Fact]
    public void Training_OnTheCpu_MovesNothing()
    {
        using CpuDevice cpu = new(1);
        RunConfig run = SoftwareDevice.Run();
        (string hash, MemoryPlan plan) = Train(cpu, run);
        (string offloaded, MemoryPlan same) = Train(cpu, run with { Offload = OffloadKind.Activations });
        Assert.Equal(hash, offloaded);
        Assert.Equal(plan, same);
    }

    [Fact]
    public void Stage_TwoMicrobatchesInFlight_OffloadedGivesTheSameWeights()
    {
        using CudaDevice device = SoftwareDevice.Open();
        Assert.Equal(StageHash(device, OffloadKind.None), StageHash(device, OffloadKind.Activations));
    }

    // a stage in the middle of a pipeline: two forwards, then their backwards in the other order, three times over
    static unsafe ulong StageHash(CudaDevice device, OffloadKind offload)
    {
        RunConfig run = SoftwareDevice.Run() with { Offload = offload };
        using StageWorker stage = new(_model, StageRange.Cut(_model, _model.Boundaries)[0], run, device, slots: 2);
        stage.Initialize(run.Seed);
        CodePayload payload = CodePayload.Of(_model, run);
        ITransfers transfers = device.Transfers;
        byte*[] sent = [Host(payload.ForwardBytes), Host(payload.ForwardBytes)];
        byte* gradient = Host(payload.CodeBytes);
        new Span<float>(gradient, payload.CodeBytes / sizeof(float)).Fill(0.01f);
        for (int step = 1; step <= Steps; step++)
        {
            stage.Forward(0, null, sent[0]);
            stage.Forward(1, null, sent[1]);
            stage.Backward(1, null, sent[1], gradient, null);
            stage.Backward(0, null, sent[0], gradient, null);
            stage.Gradients.BeginReduced();
            stage.Gradients.AddOwn();
            stage.Apply(step, 1);
        }

        ulong hash = stage.HashWeights();
        device.Synchronize();
        foreach (nint memory in (nint[])[(nint)sent[0], (nint)sent[1], (nint)gradient])
        {
            transfers.FreeHost(memory);
        }

        return hash;

        byte* Host(int bytes) => (byte*)transfers.AllocateHost(bytes, "a test");
    }

    [Theory]
    [InlineData(nameof(IFrames.Await), "which a copy brings that nobody waited for")]
    [InlineData(nameof(IFrames.Claim), "which a copy is reading that nobody waited for")]
    public void Offload_WithoutAWait_IsAnErrorThatNamesIt(string dropped, string named)
    {
        SoftwareDevice.Open().Dispose();
        // a fault ends everything on a device, so this one is reset and never disposed
        using CudaContext context = CudaContext.Open("softcuda:1");
        ForgetfulDevice forgetful = new(new CudaDevice("softcuda:1"), dropped, recorded: false);
        RunConfig run = SoftwareDevice.Run() with { Offload = OffloadKind.Activations };
        CudaException error = Assert.Throws<CudaException>(() => Train(forgetful, run));
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
        context.Reset();
    }

    // The first run of a pass, call by call, is whole; what is recorded after it lacks a wait. Copies land at once: the edges tell.
    [Theory]
    [InlineData(nameof(IFrames.Claim), "race in a graph: kernel ", ", which cuMemcpyDtoHAsync (node ")]
    [InlineData(nameof(IFrames.Await), "of the capture stands on another stream, and no event joins it back", "cuStreamEndCapture")]
    [InlineData(nameof(IFrames.End), "of the capture stands on another stream, and no event joins it back", "cuStreamEndCapture")]
    public void Offload_RecordedWithoutAWait_IsAnErrorThatNamesTheNodes(string dropped, string named, string other)
    {
        SetLateCopies(false);
        SoftwareDevice.Open().Dispose();
        using CudaContext context = CudaContext.Open("softcuda:1");
        ForgetfulDevice forgetful = new(new CudaDevice("softcuda:1"), dropped, recorded: true);
        RunConfig run = SoftwareDevice.Run() with { Offload = OffloadKind.Activations };
        CudaException error = Assert.Throws<CudaException>(() => Train(forgetful, run));
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
        Assert.Contains(other, error.Message, StringComparison.Ordinal);
        context.Reset();
    }

    // Weights come from arrays that the collector may move as soon as the call has returned.
    [Fact]
    public void Upload_LargerThanItsStaging_IsTakenWhenTheCallReturns()
    {
        using CudaDevice device = SoftwareDevice.Open();
        byte[] bytes = new byte[3 << 20], found = new byte[bytes.Length];
        new Random(1).NextBytes(bytes);
        byte[] kept = [.. bytes];
        nint address = device.Allocate(bytes.Length, "test");
        device.Upload(bytes, address);
        Array.Clear(bytes);
        device.Download(address, found);
        device.Free(address);
        Assert.Equal(kept, found);
    }

    public void Dispose() => SetLateCopies(false);

    /// <summary>A device whose frames leave out one kind of wait: always, or only while work is recorded.</summary>
    sealed class ForgetfulDevice(CudaDevice device, string dropped, bool recorded) : IDevice, ITransfers
    {
        readonly ITransfers _transfers = device.Transfers;
        bool _isRecording;

        public string Name => device.Name;

        public ElementType ComputeType => device.ComputeType;

        public long MemoryBytes => device.MemoryBytes;

        public long WorkspaceBytes => device.WorkspaceBytes;

        public IOps Ops => device.Ops;

        public ITransfers Transfers => this;

        public Action? Reached { get; set; }

        public bool IsApart => true;

        public IFrames OpenFrames(int count) => new ForgetfulFrames(_transfers.OpenFrames(count), call => call == dropped && (!recorded || _isRecording));

        public nint Allocate(long bytes, string purpose) => device.Allocate(bytes, purpose);

        public void Free(nint address) => device.Free(address);

        public void Upload(ReadOnlySpan<byte> source, nint destination) => device.Upload(source, destination);

        public void Download(nint source, Span<byte> destination) => device.Download(source, destination);

        public void Synchronize() => device.Synchronize();

        public IRecordedWork Record(Action work)
        {
            int calls = 0;
            return device.Record(() =>
            {
                _isRecording = calls++ > 0;
                work();
                _isRecording = false;
            });
        }

        public nint AllocateHost(long bytes, string purpose) => _transfers.AllocateHost(bytes, purpose);

        public void FreeHost(nint address) => _transfers.FreeHost(address);

        public void LockHost(nint address, long bytes) => _transfers.LockHost(address, bytes);

        public void UnlockHost(nint address) => _transfers.UnlockHost(address);

        public nint Arrive(nint host, long bytes) => _transfers.Arrive(host, bytes);

        public nint Departing(nint host, long bytes) => _transfers.Departing(host, bytes);

        public void Depart(nint departing, nint host, long bytes) => _transfers.Depart(departing, host, bytes);

        public void Fence() => _transfers.Fence();

        public long Mark() => _transfers.Mark();

        public bool IsReached(long mark) => _transfers.IsReached(mark);

        public void Wait(long mark) => _transfers.Wait(mark);

        public void Dispose()
        {
        }
    }

    sealed class ForgetfulFrames(IFrames frames, Func<string, bool> forgets) : IFrames
    {
        public void Begin() => frames.Begin();

        public void Claim(int frame)
        {
            if (!forgets(nameof(Claim)))
            {
                frames.Claim(frame);
            }
        }

        public void Depart(int frame, nint device, nint host, long bytes) => frames.Depart(frame, device, host, bytes);

        public void Fetch(int frame, nint host, nint device, long bytes) => frames.Fetch(frame, host, device, bytes);

        public void Await(int frame)
        {
            if (!forgets(nameof(Await)))
            {
                frames.Await(frame);
            }
        }

        public void End()
        {
            if (!forgets(nameof(End)))
            {
                frames.End();
            }
        }

        public void Dispose() => frames.Dispose();
    }
}
