// Cases of hash.cu: the CPU's hash, whatever the length, the place of the first weight and the alignment.
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> HashCases => new()
    {
        ["hash_weights"] = c => Hash(c, halves: true),
        ["hash_weights_fp32"] = c => Hash(c, halves: false),
    };

    static void Hash(KernelCase c, bool halves)
    {
        (int count, int offset, long first) = c.Pick((65536 * c.Size, 0, 0L), (1, 0, 0L), (8, 8, 5L), (1003, 0, 1L << 33), (4097, 3, 77L));
        c.Shape = $"n={count} offset {offset} first {first}";
        float[] weights = RandomFloats(1, count);
        CudaDeviceVariable<ulong> hash = c.Upload([3UL]);
        CudaKernel kernel = c.Kernel("hash.cu", halves ? "hash_weights" : "hash_weights_fp32");
        if (halves)
        {
            CaseView<ushort> high = c.View(Array.ConvertAll(weights, w => BFloat16.Split(w).High), count, count, offset);
            CaseView<ushort> low = c.View(Array.ConvertAll(weights, w => BFloat16.Split(w).Low), count, count, offset);
            c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(1, count), 256, 0, high.Address, low.Address, hash.Address, first, (long)count));
        }
        else
        {
            CaseView<float> whole = c.View(weights, count, count, offset);
            c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(1, count), 256, 0, whole.Address, hash.Address, first, (long)count));
        }

        c.Bytes = 4L * count;
        double[] Halves(ulong value) => [value >> 32, value & 0xFFFF_FFFF];
        c.Results = () => [new("hash", () => Halves(KernelCase.Read(hash)[0]), Halves(3 + WeightHash.Of(weights, first)))];
    }
}
