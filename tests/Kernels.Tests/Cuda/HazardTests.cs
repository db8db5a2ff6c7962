// What a card forgives, does by chance or refuses without a word: meetings that are not one, alignments that no type tells, launches past the
// kernel's own limits. The table of docs/kernels.md lists these with all others.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public sealed class HazardTests : PlantedFaults
{
    [Theory]
    [InlineData("atomicAdd(reinterpret_cast<float*>(reinterpret_cast<unsigned char*>(x) + 2), 1.0f);", "atomic at 0x")]
    [InlineData("DYNAMIC_SHARED(s); copy_async_16(shared_address(s) + 8, x); copy_async_wait<0>();", "to shared offset 8: both must be multiples of 16")]
    [InlineData("DYNAMIC_SHARED(s); copy_async_16(shared_address(s), x + 1); copy_async_wait<0>();", "both must be multiples of 16")]
    [InlineData("DYNAMIC_SHARED(s); unsigned r[4]; for (int i = 0; i < 16; i++) reinterpret_cast<float*>(s)[16 * threadIdx.x + i] = 0.0f; __syncwarp(); load_matrix_x4(r, shared_address(s) + 16 * threadIdx.x + 8 * (threadIdx.x == 3));",
        "thread (3,0,0): ldmatrix row at shared offset 56, which is not a multiple of 16")]
    public void Misaligned_WhereNoTypeTells_IsNamed(string body, string expected) =>
        Assert.Contains(expected, Fault(Kernel("float* x", body), 32, 2048, Zeros<float>(64)), StringComparison.Ordinal);

    // Lanes must meet in one place, and those that a mask names must come.
    [Theory]
    [InlineData("if (threadIdx.x < 32)\n__syncthreads();\nelse\n__syncthreads();", "divergent barrier: it waits here and thread (0,0,0) in line 3")]
    [InlineData("float y = 0.0f; if (threadIdx.x % 2)\ny = __shfl_xor_sync(~0u, y, 2);\nelse\ny = __shfl_xor_sync(~0u, y, 2);\nx[threadIdx.x] = y;", "divergent warp collective: it waits here and thread (0,0,0) in line 5")]
    [InlineData("if (threadIdx.x < 16) x[threadIdx.x] = __shfl_sync(0xffffu, x[threadIdx.x], 20);", "shuffle reads lane 20, which the mask 0000ffff does not name")]
    [InlineData("x[threadIdx.x] = __shfl_xor_sync(0xffffu, x[threadIdx.x], 1);", "lane 16 calls a collective whose mask 0000ffff does not name it")]
    [InlineData("if (threadIdx.x % 32 == 31) return; unsigned a[4] = {0, 0, 0, 0}; float d[4] = {0, 0, 0, 0}; multiply_bf16(d, a, 0, 0); x[threadIdx.x] = d[0];", "divergent warp collective: mask ffffffff waits, but of warp 0 lanes 7fffffff are in a collective")]
    [InlineData("DYNAMIC_SHARED(s); unsigned r[4]; if (threadIdx.x < 16) load_matrix_x4(r, shared_address(s)); else __syncwarp();", "divergent warp collective")]
    [InlineData("if (threadIdx.x % 32 < 8) __syncthreads(); else __syncwarp(0xffffff00u);", "divergent barrier")]
    public void Meeting_NotOfAll_IsNamed(string body, string expected) =>
        Assert.Contains(expected, Fault(Kernel("float* x", body), 64, 2048, Zeros<float>(64)), StringComparison.Ordinal);

    [Fact]
    public void Block_LargerThanItsLaunchBound_IsRefused()
    {
        const string Bound = "constexpr int Threads = 64;\nextern \"C\" __global__ void __launch_bounds__(2 * (Threads), 3) planted(float* x) { x[threadIdx.x] = 1.0f; }\n";
        ulong x = Zeros<float>(160);
        CudaKernel kernel = Planted(Bound);
        kernel.Launch(Stream, 1, 128, 0, x);
        Stream.Synchronize();
        CudaException error = Assert.Throws<CudaException>(() => kernel.Launch(Stream, 1, 160, 0, x));
        Assert.Contains("a block of 160 threads; its __launch_bounds__ allow 128", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(13 * 1024, 0, "the block has 53248 bytes of shared arrays and 0 dynamic ones; a card allows 49152")]
    [InlineData(4 * 1024, 40960, "16384 bytes of shared arrays and 40960 dynamic ones; a card allows 49152 and 49152 together")]
    public void SharedMemory_MoreThanACardGives_IsRefused(int floats, int dynamicBytes, string expected) =>
        Assert.Contains(expected, Fault(Kernel("float* x", $"SHARED(float, s, {floats}); s[threadIdx.x] = 0.0f;"), 32, dynamicBytes, Zeros<float>(1)), StringComparison.Ordinal);

    [Fact]
    public void DynamicShared_NotAskedFor_IsRefused()
    {
        CudaException error = Assert.Throws<CudaException>(() => Planted(Kernel("float* x", "")).Launch(Stream, 1, 32, 50000, 0UL));
        Assert.Contains("50000 bytes of dynamic shared memory, 49152 allowed", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, 70000, 1, "grid (1,70000,1)")]
    [InlineData(1, 1, 65536, "grid (1,1,65536)")]
    public void Grid_TooLarge_IsRefused(int x, int y, int z, string expected)
    {
        CudaException error = Assert.Throws<CudaException>(() => Planted(Kernel("float* x", "")).Launch(Stream, new(x, y, z), 32, 0, 0UL));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    // Sums of fp32 by atomics depend on who comes first: another order of blocks and warps gives other bits.
    [Fact]
    public unsafe void AtomicSum_OtherOrderOfBlocks_GivesOtherBits()
    {
        CudaKernel kernel = Planted(Kernel("float* x", "atomicAdd(x, 1.0f / (1 + threadIdx.x + 64 * blockIdx.x));"));
        using CudaDeviceVariable<float> sum = new(Context, 1);
        HashSet<float> sums = [];
        try
        {
            for (uint seed = 0; seed < 5; seed++)
            {
                Context.Driver.softSetScheduleSeed(seed);
                sum.ZeroAsync(Stream);
                kernel.Launch(Stream, 8, 64, 0, sum.Address);
                Stream.Synchronize();
                float[] one = new float[1];
                sum.CopyTo(one);
                sums.Add(one[0]);
            }
        }
        finally
        {
            Context.Driver.softSetScheduleSeed(0);
        }

        Assert.True(sums.Count > 1, "five orders gave one sum");
    }
}
