// The bindings on the software device: sizes of structures, memory, streams, events, graphs, errors, leaks.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cuda;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class BindingTests(SoftwareCuda cuda)
{
    // Sizes of cublasLt.h: an algorithm is eight 64-bit words, a heuristic result is that, size_t, int, float, int[4].
    [Fact]
    public unsafe void Structures_HaveTheHeadersLayout()
    {
        Assert.Equal(64, sizeof(CublasLtAlgorithm));
        Assert.Equal(96, sizeof(CublasLtHeuristic));
        Assert.Equal(64, Marshal.OffsetOf<CublasLtHeuristic>(nameof(CublasLtHeuristic.WorkspaceBytes)));
        Assert.Equal(80, Marshal.OffsetOf<CublasLtHeuristic>(nameof(CublasLtHeuristic.Reserved)));
    }

    [Fact]
    public void SoftwareDevice_Name_SaysSoftware()
    {
        Assert.Contains("software", cuda.Context.DeviceName, StringComparison.Ordinal);
        Assert.Equal("softcuda:0", cuda.Context.Selector);
        Assert.Equal(80, cuda.Context.Architecture);
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("cuda:x")]
    [InlineData("softcuda:0:1")]
    public void Selector_Wrong_NamesTheForms(string selector) =>
        Assert.Contains("softcuda:0", Assert.Throws<ArgumentException>(() => CudaContext.Open(selector)).Message, StringComparison.Ordinal);

    [Fact]
    public void RealCuda_Absent_GivesAReason()
    {
        if (CudaLibraries.Real.NotSupportedReason is not { } reason)
        {
            Assert.Skip("this machine has CUDA");
            return;
        }

        Assert.Contains("fix:", reason, StringComparison.Ordinal);
        Assert.Throws<PlatformNotSupportedException>(() => CudaContext.Open("cuda:0"));
    }

    [Fact]
    public void Device_OutOfRange_NamesTheCount()
    {
        SoftwareCuda.SkipIfAbsent();
        CudaException error = Assert.Throws<CudaException>(() => CudaContext.Open("softcuda:99"));
        Assert.Equal("CUDA_ERROR_INVALID_DEVICE", error.StatusName);
        Assert.Contains("99", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Allocate_MoreThanThereIs_NamesTheBytes()
    {
        CudaException error = Assert.Throws<CudaException>(() => cuda.Allocate<byte>(1L << 40));
        Assert.Equal("CUDA_ERROR_OUT_OF_MEMORY", error.StatusName);
        Assert.Contains("1099511627776", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Copies_AsyncThroughPageLockedMemory_KeepStreamOrder()
    {
        const int Count = 100_000;
        using CudaPageLockedHostMemory<int> from = new(cuda.Context, Count), to = new(cuda.Context, Count);
        using var device = cuda.Allocate<int>(Count);
        for (int i = 0; i < Count; i++)
        {
            from.Span[i] = i * 7;
        }

        device.CopyFromAsync(from, cuda.Stream);
        device.CopyToAsync(to, cuda.Stream);
        cuda.Stream.Synchronize();
        Assert.True(from.Span.SequenceEqual(to.Span));
    }

    [Fact]
    public void Download_NeverWritten_IsAFault()
    {
        using CudaContext context = CudaContext.Open("softcuda:1");
        CudaDeviceVariable<int> memory = new(context, 4);
        CudaException error = Assert.Throws<CudaException>(() => memory.CopyTo(new int[4]));
        Assert.Contains("never written", error.Message, StringComparison.Ordinal);
        context.Reset();
    }

    [Fact]
    public void Streams_JoinedByAnEvent_RunInOrder()
    {
        using CudaStream other = new(cuda.Context);
        using CudaEvent written = new(cuda.Context, timing: false);
        using CudaPageLockedHostMemory<int> result = new(cuda.Context, 1 << 20);
        using var memory = cuda.Allocate<int>(1 << 20);
        memory.ZeroAsync(cuda.Stream);
        written.Record(cuda.Stream);
        other.WaitEvent(written);
        memory.CopyToAsync(result, other);
        other.Synchronize();
        Assert.True(written.IsReached());
        Assert.False(result.Span.ContainsAnyExcept(0));
    }

    [Fact]
    public void Events_WithTiming_MeasureTheWorkBetween()
    {
        using CudaEvent start = new(cuda.Context, timing: true), end = new(cuda.Context, timing: true);
        using var memory = cuda.Allocate<int>(1 << 22);
        start.Record(cuda.Stream);
        memory.ZeroAsync(cuda.Stream);
        end.Record(cuda.Stream);
        end.Synchronize();
        Assert.InRange(end.MillisecondsSince(start), 0.01f, 60_000f);
    }

    [Fact]
    public void Graph_OfTwoStreams_ReplaysWithNewInputs()
    {
        using CudaStream stream = new(cuda.Context), side = new(cuda.Context);
        using CudaEvent fork = new(cuda.Context, timing: false), join = new(cuda.Context, timing: false);
        using CudaPageLockedHostMemory<int> from = new(cuda.Context, 64), to = new(cuda.Context, 64);
        using var memory = cuda.Allocate<int>(64);
        stream.BeginCapture();
        memory.CopyFromAsync(from, stream);
        fork.Record(stream);
        side.WaitEvent(fork);
        memory.CopyToAsync(to, side);
        join.Record(side);
        stream.WaitEvent(join);
        using CudaGraph graph = stream.EndCapture();
        Assert.Equal(2, graph.NodeCount);
        using CudaGraphExecutable executable = graph.Instantiate();
        for (int round = 1; round <= 3; round++)
        {
            from.Span.Fill(round);
            executable.Launch(stream);
            stream.Synchronize();
            Assert.False(to.Span.ContainsAnyExcept(round));
        }
    }

    [Fact]
    public void Capture_StreamNotJoinedBack_IsAnError()
    {
        using CudaStream stream = new(cuda.Context), side = new(cuda.Context);
        using CudaEvent fork = new(cuda.Context, timing: false);
        using var memory = cuda.Allocate<int>(64);
        stream.BeginCapture();
        fork.Record(stream);
        side.WaitEvent(fork);
        memory.ZeroAsync(side);
        Assert.Equal("CUDA_ERROR_STREAM_CAPTURE_UNJOINED", Assert.Throws<CudaException>(stream.EndCapture).StatusName);
    }

    [Fact]
    public void Capture_AllocationInside_InvalidatesIt()
    {
        using CudaStream stream = new(cuda.Context);
        stream.BeginCapture();
        Assert.Equal("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", Assert.Throws<CudaException>(() => cuda.Allocate<int>(4)).StatusName);
        Assert.Equal("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", Assert.Throws<CudaException>(stream.EndCapture).StatusName);
    }

    [Fact]
    public void Launch_WrongArguments_NamesTheParameter()
    {
        CudaKernel kernel = cuda.Kernel("rmsnorm.cu", "rmsnorm_weight_gradient");
        Assert.Contains("takes 4 parameters", Assert.Throws<ArgumentException>(() => kernel.Launch(cuda.Stream, 1, 32, 0, 1, 2)).Message, StringComparison.Ordinal);
        Assert.Contains("parameter 2: 4 bytes expected, 8 given",
            Assert.Throws<ArgumentException>(() => kernel.Launch(cuda.Stream, 1, 32, 0, 1UL, 2UL, 3L, 4)).Message, StringComparison.Ordinal);
    }

    // A driver before CUDA 12.4 does not tell how many there are, and the places for them lie on the stack.
    [Fact]
    public void Launch_MoreArgumentsThanPlaces_IsRefused() =>
        Assert.Contains("33 arguments given, at most 32",
            Assert.Throws<ArgumentException>(() => cuda.Kernel("rmsnorm.cu", "rmsnorm_weight_gradient").Launch(cuda.Stream, 1, 32, 0, new KernelArgument[33])).Message, StringComparison.Ordinal);

    [Fact]
    public void Launch_SharedMemoryPast48KiB_NeedsPermission()
    {
        using CudaModule module = new(cuda.Context, SoftwareCuda.Compiler.CompileText("big.cu",
            "#include \"ptx.cuh\"\nextern \"C\" __global__ void big() { DYNAMIC_SHARED(s); s[65535] = 1; }", "sm_80"));
        CudaKernel kernel = module.Kernel("big");
        Assert.Equal("CUDA_ERROR_INVALID_VALUE", Assert.Throws<CudaException>(() => kernel.Launch(cuda.Stream, 1, 32, 65536)).StatusName);
        kernel.AllowDynamicShared(65536);
        kernel.Launch(cuda.Stream, 1, 1, 65536);
        cuda.Stream.Synchronize();
    }

    [Fact]
    public void Launch_SteadyState_AllocatesNothing()
    {
        using var partial = cuda.Upload<float>(new float[8]);
        using var sum = cuda.Upload<float>(new float[8]);
        CudaKernel kernel = cuda.Kernel("rmsnorm.cu", "rmsnorm_weight_gradient");
        kernel.Launch(cuda.Stream, 1, 256, 0, partial.Address, sum.Address, 1, 8);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++)
        {
            kernel.Launch(cuda.Stream, 1, 256, 0, partial.Address, sum.Address, 1, 8);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        cuda.Stream.Synchronize();
    }

    [Fact]
    public void ContextEnd_ForgottenMemory_IsListed()
    {
        SoftwareCuda.SkipIfAbsent();
        CudaContext context = CudaContext.Open("softcuda:1");
        CudaDeviceVariable<byte> forgotten = new(context, 100);
        Assert.Equal(100, forgotten.Bytes);
        Assert.Contains("leaked allocation", Assert.Throws<CudaException>(context.Dispose).Message, StringComparison.Ordinal);
    }
}
