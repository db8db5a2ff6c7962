// Cases of reduction.cu: lengths around a chunk, and partial sums around a block.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    const int ReductionChunk = 16384;
    const double Double = 1.0 / (1L << 52);

    static Dictionary<string, Action<KernelCase>> ReductionCases => new()
    {
        ["sum_of_squares_fp32"] = c => Reduction(c, "sum_of_squares_fp32", "fp32", x => x * x),
        ["sum_of_squares_bf16"] = c => Reduction(c, "sum_of_squares_bf16", "bf16", x => x * x),
        ["sum_fp32"] = c => Reduction(c, "sum_fp32", "fp32", x => x),
        ["sum_bf16"] = c => Reduction(c, "sum_bf16", "bf16", x => x),
        ["sum_partials"] = SumPartials,
    };

    static void Reduction(KernelCase c, string name, string type, Func<double, double> term)
    {
        int count = c.Pick(131072 * c.Size, 1, 255, ReductionChunk, 40001), blocks = (count + ReductionChunk - 1) / ReductionChunk;
        c.Shape = $"n={count}";
        Operand x = RandomView(c, type, 1, 1, count, count, 0);
        CudaDeviceVariable<double> partial = c.Allocate<double>(blocks);
        CudaKernel kernel = c.Kernel("reduction.cu", name);
        c.LaunchWith(() => kernel.Launch(c.Stream, blocks, 256, 0, x.Address, partial.Address, (long)count));
        c.Bytes = (type == "fp32" ? 4L : 2L) * count;
        c.Flops = (name.StartsWith("sum_of_squares", StringComparison.Ordinal) ? 2.0 : 1.0) * count;
        c.Results = () =>
        {
            double[] terms = Array.ConvertAll(x.Values, v => term(v));
            double[] expected = [.. terms.Chunk(ReductionChunk).Select(chunk => chunk.Sum())];
            return [new("partial sums", () => KernelCase.Read(partial), expected, 0, ReductionChunk * Double * terms.Chunk(ReductionChunk).Max(chunk => chunk.Sum(Math.Abs)))];
        };
    }

    static void SumPartials(KernelCase c)
    {
        int blocks = c.Pick(4096 * c.Size, 1, 31, 257, 1000);
        c.Shape = $"blocks={blocks}";
        double[] values = Widen(RandomFloats(1, blocks));
        var (partial, result) = (c.Upload(values), c.Allocate<double>(1));
        CudaKernel kernel = c.Kernel("reduction.cu", "sum_partials");
        c.LaunchWith(() => kernel.Launch(c.Stream, 1, 256, 0, partial.Address, result.Address, blocks));
        c.Bytes = 8L * blocks;
        c.Flops = blocks;
        c.Results = () => [new("sum", () => KernelCase.Read(result), [values.Sum()], 0, blocks * Double * values.Sum(Math.Abs))];
    }
}
