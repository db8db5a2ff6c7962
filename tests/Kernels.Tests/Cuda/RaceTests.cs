// Races planted in kernels: between threads of a block, between blocks of a launch, between streams, between nodes of a graph. Each must be
// an error that names both sides; and what is ordered must not be one.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public sealed class RaceTests : PlantedFaults
{
    const string Reversal = "x[threadIdx.x] = 1.0f; BARRIER y[threadIdx.x] = x[63 - threadIdx.x];";

    [Fact]
    public void BarrierRemoved_GlobalReversal_NamesBothThreads()
    {
        string text = Fault(Kernel("float* x, float* y", Reversal.Replace("BARRIER", "\n", StringComparison.Ordinal)), 64, 0, Zeros<float>(64), Zeros<float>(64));
        // The first warp reads what the second writes later.
        Assert.Contains("thread (32,0,0): race on global memory: byte 128 of allocation", text, StringComparison.Ordinal);
        Assert.Contains("is written here and read by thread (31,0,0) of the same block at planted.cu:3, with no barrier between at planted.cu:2", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Barrier_GlobalReversal_IsInOrder() =>
        InOrder(Kernel("float* x, float* y", Reversal.Replace("BARRIER", "__syncthreads();", StringComparison.Ordinal)), 64, Zeros<float>(64), Zeros<float>(64));

    [Fact]
    public void SecondBarrierRemoved_GlobalTileInALoop_IsARace()
    {
        const string Body = "for (int i = 0; i < 2; i++) { x[threadIdx.x] = 1.0f; __syncthreads(); y[threadIdx.x] = x[63 - threadIdx.x]; BARRIER }";
        InOrder(Kernel("float* x, float* y", Body.Replace("BARRIER", "__syncthreads();", StringComparison.Ordinal)), 64, Zeros<float>(64), Zeros<float>(64));
        Assert.Contains("race on global memory", Fault(Kernel("float* x, float* y", Body.Replace("BARRIER", "", StringComparison.Ordinal)), 64, 0, Zeros<float>(64), Zeros<float>(64)), StringComparison.Ordinal);
    }

    // A shuffle makes lanes meet, but it is no fence: what they wrote to memory before need not be seen after.
    [Theory]
    [InlineData("__syncwarp();", false)]
    [InlineData("__syncthreads();", false)]
    [InlineData("", true)]
    [InlineData("__shfl_xor_sync(~0u, 1, 1);", true)]
    [InlineData("__syncwarp(threadIdx.x < 16 ? 0xffffu : 0xffff0000u);", true)]
    public void GlobalReversal_WithinAWarp_NeedsSyncwarp(string between, bool race)
    {
        string kernel = Kernel("float* x, float* y", $"x[threadIdx.x] = 1.0f; {between} y[threadIdx.x] = x[31 - threadIdx.x];");
        if (race)
        {
            Assert.Contains("race on global memory", Fault(kernel, 32, 0, Zeros<float>(32), Zeros<float>(32)), StringComparison.Ordinal);
        }
        else
        {
            InOrder(kernel, 32, Zeros<float>(32), Zeros<float>(32));
        }
    }

    [Fact]
    public void TwoWarps_SyncwarpOnly_IsARace() =>
        Assert.Contains("and read by thread (31,0,0)", Fault(Kernel("float* x, float* y", Reversal.Replace("BARRIER", "__syncwarp();", StringComparison.Ordinal)), 64, 0, Zeros<float>(64), Zeros<float>(64)), StringComparison.Ordinal);

    [Fact]
    public void TwoThreads_SameValueToOneByte_IsARace() =>
        Assert.Contains("is written here and written by thread (0,0,0) of the same block", Fault(Kernel("float* x", "x[0] = 1.0f;"), 64, 0, Zeros<float>(1)), StringComparison.Ordinal);

    [Fact]
    public void ReadByAll_ThenWrittenByOne_NamesTheReaders() =>
        Assert.Contains("read by threads of several warps of the same block", Fault(Kernel("float* x, float* y", "y[threadIdx.x] = x[0]; if (threadIdx.x == 63) x[0] = 1.0f;"), 64, 0, Zeros<float>(1), Zeros<float>(64)), StringComparison.Ordinal);

    [Fact]
    public void CounterZeroed_NoBarrierBeforeAtomics_IsARace() =>
        Assert.Contains("is changed by an atomic here and written by thread (0,0,0)", Fault(Kernel("float* x", "if (threadIdx.x == 0) x[0] = 0.0f; atomicAdd(x, 1.0f);"), 32, 0, Zeros<float>(1)), StringComparison.Ordinal);

    [Fact]
    public void AtomicsAndNeighboursInOneWord_AreNoRace() =>
        InOrder(Kernel("float* x", "reinterpret_cast<unsigned char*>(x)[threadIdx.x] = 1; atomicAdd(x + 16, 1.0f); __syncthreads(); x[17 + threadIdx.x] = x[16];"), 64, Zeros<float>(96));

    [Fact]
    public void CopyAsync_SourceWrittenBeforeTheWait_IsARace()
    {
        const string Body = "DYNAMIC_SHARED(s); copy_async_16(shared_address(s) + 16 * threadIdx.x, x + 4 * threadIdx.x); copy_async_commit(); __syncthreads(); x[255 - threadIdx.x] = 1.0f; __syncthreads(); copy_async_wait<0>();";
        Assert.Contains("is read by a cp.async from here, and was written by the block before the copy was waited for", Fault(Kernel("float* x", Body), 64, 1024, Zeros<float>(256)), StringComparison.Ordinal);
    }

    [Fact]
    public void SharedNeighbours_OfOneBFloat_AreNoRace() =>
        InOrder(Kernel("float* x", "SHARED(unsigned char, s, 64); s[threadIdx.x] = 1; __syncthreads(); x[threadIdx.x] = s[63 - threadIdx.x];"), 64, Zeros<float>(64));

    [Fact]
    public void SharedArray_Race_NamesArrayAndThread()
    {
        string text = Fault(Kernel("float* x", "SHARED(float, first, 64); SHARED(float, second, 64); first[threadIdx.x] = second[threadIdx.x] = 1.0f; __syncthreads(); x[threadIdx.x] = second[63 - threadIdx.x]; second[threadIdx.x] = 0.0f;"), 64, 0, Zeros<float>(64));
        Assert.Contains("race on shared memory at offset 124 of second: read here, written by thread (31,0,0)", text, StringComparison.Ordinal);
    }

    [Fact]
    public void TwoBlocks_OneByte_IsARaceThatNamesBoth()
    {
        Planted(Kernel("float* x", "x[blockIdx.x / 2 * 32 + threadIdx.x] = 1.0f;")).Launch(Stream, 2, 32, 0, Zeros<float>(64));
        string text = FaultOf("planted");
        Assert.Contains("race on global memory: byte 0 of allocation", text, StringComparison.Ordinal);
        Assert.Contains("is written here and written by block (", text, StringComparison.Ordinal);
        Assert.Contains("planted.cu:2", text, StringComparison.Ordinal);
    }

    [Fact]
    public void BlockReadsWhatAnotherWrites_IsARace()
    {
        Planted(Kernel("float* x", "x[32 * blockIdx.x + threadIdx.x] = x[(32 * blockIdx.x + 32 + threadIdx.x) % 64] + 1.0f;")).Launch(Stream, 2, 32, 0, Zeros<float>(64));
        Assert.Contains("race on global memory", FaultOf("planted"), StringComparison.Ordinal);
    }

    [Fact]
    public void TwoStreams_NoEvent_IsARaceThatNamesBothKernels()
    {
        using CudaStream other = new(Context);
        CudaKernel kernel = Planted(Kernel("float* x", "x[threadIdx.x] += 1.0f;"));
        ulong x = Zeros<float>(32);
        Stream.Synchronize();
        kernel.Launch(Stream, 1, 32, 0, x);
        CudaException error = Assert.Throws<CudaException>(() =>
        {
            kernel.Launch(other, 1, 32, 0, x);
            other.Synchronize();
            Stream.Synchronize();
        });
        Assert.Contains("race between streams: kernel planted writes byte 0 of allocation", error.Message, StringComparison.Ordinal);
        Assert.Contains("which kernel planted writes on another stream, and no event orders the two", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TwoStreams_WithAnEvent_AreInOrder()
    {
        using CudaStream other = new(Context);
        using CudaEvent written = new(Context, timing: false);
        CudaKernel kernel = Planted(Kernel("float* x", "x[threadIdx.x] += 1.0f;"));
        ulong x = Zeros<float>(32);
        kernel.Launch(Stream, 1, 32, 0, x);
        written.Record(Stream);
        other.WaitEvent(written);
        kernel.Launch(other, 1, 32, 0, x);
        other.Synchronize();
        Stream.Synchronize();
    }

    void InOrder(string kernel, int threads, params KernelArgument[] arguments)
    {
        Planted(kernel).Launch(Stream, 1, threads, 0, arguments);
        Stream.Synchronize();
    }
}
