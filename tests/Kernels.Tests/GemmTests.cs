// The packed matrix product: right on every transpose form and awkward shape, and the same bits for any thread count,
// number of rows, and vector width.
using OrionNative.Kernels.Cpu;

namespace OrionNative.Kernels.Tests;

public sealed class GemmTests : IDisposable
{
    readonly ThreadTeam _team = new(2);

    public void Dispose() => _team.Dispose();

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 33, 257)]
    [InlineData(15, 31, 7)]
    [InlineData(67, 129, 513)]
    public void Product_AnyTransposeForm_AgreesWithDoubleSums(int m, int n, int k)
    {
        foreach ((bool transposeA, bool transposeB) in new[] { (false, false), (false, true), (true, false), (true, true) })
        {
            using NativeMatrix a = new(transposeA ? k : m, transposeA ? m : k, 1, 3), b = new(transposeB ? n : k, transposeB ? k : n, 2), c = new(m, n, 3, 5);
            float[] before = c.ToArray();
            new CpuOps(_team, VectorPathChoice.Widest).MatrixProduct(a.View, transposeA, b.View, transposeB, c.View, 0.5f, 2);
            c.AssertGapsUntouched();
            for (int i = 0; i < m; i++)
            {
                for (int j = 0; j < n; j++)
                {
                    double sum = 0, magnitude = 0;
                    for (int l = 0; l < k; l++)
                    {
                        double term = (double)(transposeA ? a[l, i] : a[i, l]) * (transposeB ? b[j, l] : b[l, j]);
                        sum += term;
                        magnitude += Math.Abs(term);
                    }

                    // k roundings of partial sums no larger than the sum of magnitudes, and two of the combination
                    double tolerance = (k + 2) * Math.Pow(2, -24) * ((0.5 * magnitude) + Math.Abs(2 * before[(i * n) + j]));
                    Assert.InRange(c[i, j] - ((0.5 * sum) + (2 * before[(i * n) + j])), -tolerance, tolerance);
                }
            }
        }
    }
}
