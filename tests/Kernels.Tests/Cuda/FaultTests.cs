// Faults planted in kernels, and what the software device says about each. The list is the point: a fault that a card would
// forgive must be an error here that names the kernel, the thread and, where it has one, the line.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public sealed class FaultTests : PlantedFaults
{
    [Fact]
    public void IndexOffByOne_Write_NamesTheAllocation()
    {
        string text = Fault(Kernel("float* x", "x[threadIdx.x + 1] = 1.0f;"), 32, 0, Zeros<float>(32));
        Assert.Contains("thread (31,0,0): write of 4 bytes", text, StringComparison.Ordinal);
        Assert.Contains("0 bytes past the end of allocation", text, StringComparison.Ordinal);
        Assert.Contains("(128 bytes", text, StringComparison.Ordinal);
        Assert.Contains("planted.cu:2", text, StringComparison.Ordinal);
    }

    [Fact]
    public void MissingZeroing_ReadModifyWrite_IsNeverWritten() =>
        Assert.Contains("was never written", Fault(Kernel("float* x", "x[threadIdx.x] += 1.0f;"), 32, 0, new CudaDeviceVariable<float>(Context, 32).Address), StringComparison.Ordinal);

    [Fact]
    public void UseAfterFree_Read_NamesTheFreedAllocation()
    {
        CudaDeviceVariable<float> gone = new(Context, 32);
        ulong address = gone.Address;
        gone.Dispose();
        Assert.Contains("of freed allocation", Fault(Kernel("float* x, float* y", "y[threadIdx.x] = x[threadIdx.x];"), 32, 0, address, Zeros<float>(32)), StringComparison.Ordinal);
    }

    [Fact]
    public void MisalignedVector_Load_NamesTheLine()
    {
        string text = Fault(Kernel("float* x", "float4* v = reinterpret_cast<float4*>(x + 1); v[0].x = 1.0f;"), 1, 0, Zeros<float>(32));
        Assert.Contains("CUDA_ERROR_MISALIGNED_ADDRESS", text, StringComparison.Ordinal);
        Assert.Contains("not a multiple of 16", text, StringComparison.Ordinal);
    }

    [Fact]
    public void OtherDevice_Pointer_IsRefused()
    {
        using CudaContext other = CudaContext.Open("softcuda:0");
        using CudaDeviceVariable<float> far = new(other, 4);
        Assert.Contains("memory of device 0, used on device 1", Fault(Kernel("float* x", "x[0] = 1.0f;"), 1, 0, far.Address), StringComparison.Ordinal);
    }

    [Fact]
    public void NullPointer_Write_IsRefused() =>
        Assert.Contains("write of 4 bytes at 0x0: a null pointer", Fault(Kernel("float* x", "x[0] = 1.0f;"), 1, 0, 0UL), StringComparison.Ordinal);

    [Fact]
    public unsafe void HostPointer_NotPageLocked_IsRefused()
    {
        float ofTheHost = 0;
        string text = Fault(Kernel("float* x", "x[0] = 1.0f;"), 1, 0, (ulong)&ofTheHost);
        Assert.Contains("no memory of this device and not page-locked host memory", text, StringComparison.Ordinal);
        Assert.Equal(0, ofTheHost);
    }

    [Fact]
    public void MissingBarrier_SharedReversal_IsARace()
    {
        const string Body = "SHARED(float, s, 64); s[threadIdx.x] = x[threadIdx.x]; BARRIER x[threadIdx.x] = s[63 - threadIdx.x];";
        string faulty = Kernel("float* x", Body.Replace("BARRIER", "", StringComparison.Ordinal));
        // Without the barrier the first warp reads what the second has not written yet.
        Assert.Contains("never written", Fault(faulty, 64, 0, Zeros<float>(64)), StringComparison.Ordinal);
    }

    [Fact]
    public void MissingSecondBarrier_LoopOverSharedTile_IsARace()
    {
        const string Body = "SHARED(float, s, 64); for (int i = 0; i < 2; i++) { s[threadIdx.x] = x[threadIdx.x]; __syncthreads(); x[threadIdx.x] = s[63 - threadIdx.x]; }";
        Assert.Contains("race on shared memory", Fault(Kernel("float* x", Body), 64, 0, Zeros<float>(64)), StringComparison.Ordinal);
    }

    [Fact]
    public void MissingWarpSync_WithinAWarp_IsARace()
    {
        const string Body = "SHARED(float, s, 32); s[threadIdx.x] = 1.0f; __syncwarp(); float y = s[31 - threadIdx.x]; s[threadIdx.x] = y; x[threadIdx.x] = y;";
        Assert.Contains("race on shared memory", Fault(Kernel("float* x", Body), 32, 0, Zeros<float>(32)), StringComparison.Ordinal);
    }

    [Fact]
    public void MissingWait_CopyAsync_IsNotWaitedFor()
    {
        const string Body = "DYNAMIC_SHARED(s); copy_async_16(shared_address(s) + 16 * threadIdx.x, x + 4 * threadIdx.x); copy_async_commit(); __syncthreads(); x[threadIdx.x] = reinterpret_cast<float*>(s)[threadIdx.x]; copy_async_wait<0>();";
        Assert.Contains("cp.async that was not waited for", Fault(Kernel("float* x", Body), 32, 512, Zeros<float>(128)), StringComparison.Ordinal);
    }

    [Fact]
    public void WaitForTooFewGroups_CopyAsync_IsNotWaitedFor()
    {
        const string Body = "DYNAMIC_SHARED(s); copy_async_16(shared_address(s), x); copy_async_commit(); copy_async_wait<1>(); x[0] = reinterpret_cast<float*>(s)[0];";
        Assert.Contains("cp.async that was not waited for", Fault(Kernel("float* x", Body), 1, 512, Zeros<float>(128)), StringComparison.Ordinal);
    }

    [Fact]
    public void CopyAsync_NoWaitAtAll_IsFoundAtTheEnd()
    {
        const string Body = "DYNAMIC_SHARED(s); copy_async_16(shared_address(s), x);";
        Assert.Contains("ends with 1 cp.async", Fault(Kernel("float* x", Body), 1, 512, Zeros<float>(128)), StringComparison.Ordinal);
    }

    [Fact]
    public void DivergentBarrier_HalfAWarp_IsNamed()
    {
        const string Body = "if (threadIdx.x < 16) __syncthreads(); x[threadIdx.x] = 1.0f;";
        Assert.Contains("divergent barrier", Fault(Kernel("float* x", Body), 32, 0, Zeros<float>(32)), StringComparison.Ordinal);
    }

    [Fact]
    public void DivergentShuffle_FullMask_IsNamed()
    {
        const string Body = "if (threadIdx.x == 31) return; x[threadIdx.x] = __shfl_xor_sync(~0u, x[threadIdx.x], 1);";
        Assert.Contains("divergent warp collective", Fault(Kernel("float* x", Body), 32, 0, Zeros<float>(32)), StringComparison.Ordinal);
    }

    [Fact]
    public void SharedArray_Overrun_IsOutside()
    {
        const string Body = "SHARED(float, s, 32); SHARED(float, t, 32); float* p = s; p[threadIdx.x + n] = 1.0f; t[threadIdx.x] = 1.0f;";
        Assert.Contains("outside the block's shared memory", Fault(Kernel("int n", Body), 32, 0, 1), StringComparison.Ordinal);
    }

    [Fact]
    public void RegisterArray_Overrun_NamesTheIndex()
    {
        const string Body = "float a[4] = {0.0f, 1.0f, 2.0f, 3.0f}; x[0] = a[n];";
        Assert.Contains("array index 4 is out of bounds", Fault(Kernel("float* x, int n", Body), 1, 0, Zeros<float>(1), 4), StringComparison.Ordinal);
    }

    [Fact]
    public void IndexProduct_Overflow_IsNamed() =>
        Assert.Contains("signed multiplication overflows", Fault(Kernel("float* x, int n", "x[n * n] = 1.0f;"), 1, 0, Zeros<float>(1), 65536), StringComparison.Ordinal);
}
