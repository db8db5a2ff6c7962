// Cases of rmsnorm.cu.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    const float RmsNormEpsilon = 1e-5f;

    static Dictionary<string, Action<KernelCase>> RmsNormCases => new()
    {
        ["add_rmsnorm_forward"] = c => RmsNormForward(c, add: true),
        ["rmsnorm_forward"] = c => RmsNormForward(c, add: false),
        ["rmsnorm_backward"] = RmsNormBackward,
        ["rmsnorm_weight_gradient"] = RmsNormWeightGradient,
    };

    static (int Rows, int Columns) PickRows(KernelCase c)
    {
        (int rows, int columns) = c.Pick((16 * c.Size, 4096), (1, 8), (3, 264), (5, 1000), (2, 4096));
        c.Shape = $"R={rows} C={columns}";
        return (rows, columns);
    }

    static int RowThreads(int columns) => Math.Clamp(((columns / 8) + 31) / 32 * 32, 32, 256);

    static void RmsNormForward(KernelCase c, bool add)
    {
        (int rows, int columns) = PickRows(c);
        ushort[] x = Random(1, rows * columns), y = Random(2, rows * columns), w = Random(3, columns);
        var (dx, dy, dw) = (c.Upload(x), c.Upload(y), c.Upload(w));
        var (sum, output, rstd) = (c.Allocate<ushort>(x.Length), c.Allocate<ushort>(x.Length), c.Allocate<float>(rows));
        CudaKernel kernel = c.Kernel("rmsnorm.cu", add ? "add_rmsnorm_forward" : "rmsnorm_forward");
        int threads = RowThreads(columns);
        c.LaunchWith(add
            ? () => kernel.Launch(c.Stream, rows, threads, 0, dx.Address, dy.Address, dw.Address, sum.Address, output.Address, rstd.Address, columns, RmsNormEpsilon)
            : () => kernel.Launch(c.Stream, rows, threads, 0, dx.Address, dw.Address, output.Address, rstd.Address, columns, RmsNormEpsilon));
        c.Bytes = ((add ? 8L : 4L) * rows * columns) + (4L * rows) + (2L * columns);
        c.Flops = (add ? 5.0 : 4.0) * rows * columns;
        c.Results = () =>
        {
            double[] input = add ? KernelCase.Widen(sum) : Widen(x);
            (double[] expected, double[] scales) = Oracle.RmsNormForward(input, Widen(w), RmsNormEpsilon);
            // A sum of n fp32 squares in any order is off by at most n roundings; the root halves that.
            KernelResult[] results =
            [
                new("output", () => KernelCase.Widen(output), expected, Rounding + (2 * columns * Single), 0),
                new("rstd", () => KernelCase.Widen(rstd), scales, columns * Single, 0),
            ];
            return add ? [new("sum", () => input, [.. Widen(x).Zip(Widen(y), (a, b) => a + b)], Rounding + Single, 0), .. results] : results;
        };
    }

    static void RmsNormBackward(KernelCase c)
    {
        (int rows, int columns, bool accumulate) = c.Pick((16 * c.Size, 4096, true), (1, 8, false), (3, 264, true), (7, 1000, false), (3, 4104, true));
        c.Shape = $"R={rows} C={columns}{(accumulate ? " accumulating" : "")}";
        int perBlock = c.Size > 0 ? CudaOps.NormRowsPerBlock(rows, columns) : 2, blocks = (rows + perBlock - 1) / perBlock;
        ushort[] dy = Random(1, rows * columns), x = Random(2, rows * columns), w = Random(3, columns), before = Random(4, rows * columns);
        float[] scales = c.Size > 0 ? RandomFloats(5, rows) : Array.ConvertAll(Oracle.RmsNormForward(Widen(x), Widen(w), RmsNormEpsilon).Rstd, s => (float)s);
        var (g, input, weight, rstd, gradX) = (c.Upload(dy), c.Upload(x), c.Upload(w), c.Upload(scales), c.Upload(before));
        CudaDeviceVariable<float> partial = c.Allocate<float>((long)blocks * columns);
        CudaKernel kernel = c.Kernel("rmsnorm.cu", "rmsnorm_backward");
        c.LaunchWith(() => kernel.Launch(c.Stream, blocks, RowThreads(columns), 0,
            g.Address, input.Address, weight.Address, rstd.Address, gradX.Address, partial.Address, rows, columns, perBlock, accumulate ? 1 : 0));
        c.Bytes = ((accumulate ? 8L : 6L) * rows * columns) + (4L * blocks * columns);
        c.Flops = 11.0 * rows * columns;
        c.Results = () =>
        {
            (double[] expected, double[] gradWeight) = Oracle.RmsNormBackward(Widen(dy), Widen(x), Widen(w), RmsNormEpsilon);
            expected = [.. expected.Select((value, i) => value + (accumulate ? Widen(before)[i] : 0))];
            double[] Sums()
            {
                double[] parts = KernelCase.Widen(partial);
                return [.. Enumerable.Range(0, columns).Select(i => Enumerable.Range(0, blocks).Sum(b => parts[(b * columns) + i]))];
            }

            // fp32 cancels in the difference of two terms, each at most rstd * (1 + 1): operands are below 1, and rstd * |x| * mean is too.
            double largest = 2 * (1 + scales.Max());
            return
            [
                new("gradX", () => KernelCase.Widen(gradX), expected, Rounding, (columns + 16) * Single * largest),
                new("partial sums", Sums, gradWeight, 0, (rows + 4) * Single * rows * scales.Max()),
            ];
        };
    }

    static void RmsNormWeightGradient(KernelCase c)
    {
        (int blocks, int columns) = c.Pick((256, 4096), (1, 8), (3, 264), (9, 1000));
        c.Shape = $"blocks={blocks} C={columns}";
        float[] parts = RandomFloats(1, blocks * columns), before = RandomFloats(2, columns);
        var (partial, dw) = (c.Upload(parts), c.Upload(before));
        CudaKernel kernel = c.Kernel("rmsnorm.cu", "rmsnorm_weight_gradient");
        c.LaunchWith(() => kernel.Launch(c.Stream, (columns + 31) / 32, 256, 0, partial.Address, dw.Address, blocks, columns));
        c.Bytes = 4L * (blocks + 2) * columns;
        c.Flops = (double)blocks * columns;
        c.Results = () =>
        {
            // One order of additions, so the CPU's fp32 loop gives the same bits.
            float[] expected = [.. before];
            for (int i = 0; i < columns; i++)
            {
                float sum = 0;
                for (int first = 0, eighth = (blocks + 7) / 8; first < blocks; first += eighth)
                {
                    float run = 0;
                    for (int b = first; b < Math.Min(blocks, first + eighth); b++)
                    {
                        run += parts[(b * columns) + i];
                    }

                    sum += run;
                }

                expected[i] += sum;
            }

            return [new("gradient", () => KernelCase.Widen(dw), Widen(expected))];
        };
    }
}
