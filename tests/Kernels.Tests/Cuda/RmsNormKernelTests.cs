// rmsnorm.cu against plain loops in double.

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class RmsNormKernelTests(SoftwareCuda cuda)
{
    const string Source = "rmsnorm.cu";
    const double Epsilon = 1e-5;

    public static TheoryData<int, int> Shapes => new() { { 1, 8 }, { 3, 24 }, { 7, 264 }, { 5, 1000 }, { 2, 4096 } };

    static int Threads(int columns) => Math.Clamp(((columns / 8) + 31) / 32 * 32, 32, 256);

    [Theory, MemberData(nameof(Shapes))]
    public void AddForward_RandomRows_MatchesDouble(int rows, int columns)
    {
        Random random = new(rows + columns);
        ushort[] x = Bf16.Random(random, rows * columns), y = Bf16.Random(random, rows * columns), w = Bf16.Random(random, columns);
        using var dx = cuda.Upload<ushort>(x);
        using var dy = cuda.Upload<ushort>(y);
        using var dw = cuda.Upload<ushort>(w);
        using var h = cuda.Allocate<ushort>(x.Length);
        using var output = cuda.Allocate<ushort>(x.Length);
        using var rstd = cuda.Allocate<float>(rows);
        cuda.Kernel(Source, "add_rmsnorm_forward").Launch(cuda.Stream, rows, Threads(columns), 0,
            dx.Address, dy.Address, dw.Address, h.Address, output.Address, rstd.Address, columns, (float)Epsilon);

        double[] sum = [.. x.Zip(y, (a, b) => Bf16.To(a) + Bf16.To(b))];
        double[] stored = Bf16.Widen(cuda.Download(h));
        Bf16.Close(sum, stored, Bf16.Rounding, 0, "h");
        double[] scales = [.. Enumerable.Range(0, rows).Select(r => Scale(stored, r, columns))];
        // A sum of n fp32 squares in any order: relative error at most n roundings; the root halves it.
        Bf16.Close(scales, Bf16.Widen(cuda.Download(rstd)), columns * Bf16.Single, 0, "rstd");
        double[] expected = [.. stored.Select((v, i) => v * scales[i / columns] * Bf16.To(w[i % columns]))];
        Bf16.Close(expected, Bf16.Widen(cuda.Download(output)), Bf16.Rounding + (2 * columns * Bf16.Single), 0, "out");
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Backward_RandomRows_MatchesDouble(int rows, int columns)
    {
        foreach (bool accumulate in new[] { false, true })
        {
            Backward(rows, columns, accumulate);
        }
    }

    void Backward(int rows, int columns, bool accumulate)
    {
        const int RowsPerBlock = 2;
        int blocks = (rows + RowsPerBlock - 1) / RowsPerBlock;
        Random random = new(rows * columns);
        ushort[] g = Bf16.Random(random, rows * columns), x = Bf16.Random(random, rows * columns), w = Bf16.Random(random, columns);
        ushort[] before = Bf16.Random(random, rows * columns);
        double[] dg = Bf16.Widen(g), vx = Bf16.Widen(x), vw = Bf16.Widen(w);
        double[] scales = [.. Enumerable.Range(0, rows).Select(r => (double)(float)Scale(vx, r, columns))];
        using var gradient = cuda.Upload<ushort>(g);
        using var input = cuda.Upload<ushort>(x);
        using var weight = cuda.Upload<ushort>(w);
        using var rstd = cuda.Upload<float>([.. scales.Select(s => (float)s)]);
        using var gradX = accumulate ? cuda.Upload<ushort>(before) : cuda.Allocate<ushort>(x.Length);
        using var partial = cuda.Allocate<float>((long)blocks * columns);
        using var gradWeight = cuda.Upload<float>([.. Enumerable.Repeat(0.5f, columns)]);
        cuda.Kernel(Source, "rmsnorm_backward").Launch(cuda.Stream, blocks, Threads(columns), 0,
            gradient.Address, input.Address, weight.Address, rstd.Address, gradX.Address, partial.Address, rows, columns, RowsPerBlock, accumulate ? 1 : 0);
        cuda.Kernel(Source, "rmsnorm_weight_gradient").Launch(cuda.Stream, (columns + 31) / 32, 256, 0,
            partial.Address, gradWeight.Address, blocks, columns);

        double[] expectedX = new double[rows * columns], expectedWeight = [.. Enumerable.Repeat(0.5, columns)];
        double largest = 0;
        for (int r = 0; r < rows; r++)
        {
            double s = scales[r], mean = 0;
            for (int c = 0; c < columns; c++)
            {
                int i = (r * columns) + c;
                mean += vw[c] * dg[i] * vx[i] / columns;
                expectedWeight[c] += dg[i] * vx[i] * s;
            }

            for (int c = 0; c < columns; c++)
            {
                int i = (r * columns) + c;
                expectedX[i] = (s * ((vw[c] * dg[i]) - (vx[i] * s * s * mean))) + (accumulate ? Bf16.To(before[i]) : 0);
                largest = Math.Max(largest, s * ((Math.Abs(vw[c] * dg[i])) + Math.Abs(vx[i] * s * s * mean)) + 1);
            }
        }

        // fp32 arithmetic cancels in the difference, so its error is relative to the largest term.
        Bf16.Close(expectedX, Bf16.Widen(cuda.Download(gradX)), Bf16.Rounding, (columns + 16) * Bf16.Single * largest, "dx");
        Bf16.Close(expectedWeight, Bf16.Widen(cuda.Download(gradWeight)), 0, (rows + 4) * Bf16.Single * (1 + (rows * scales.Max())), "dw");
    }

    static double Scale(double[] values, int row, int columns)
    {
        double squares = 0;
        for (int c = 0; c < columns; c++)
        {
            squares += values[(row * columns) + c] * values[(row * columns) + c];
        }

        return 1 / Math.Sqrt((squares / columns) + Epsilon);
    }
}
