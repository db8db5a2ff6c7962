// The packed matrix product: right on every transpose form and awkward shape, and the same bits for any thread count,
// number of rows, stride and vector width.
using OrionNative.Kernels.Cpu;

namespace OrionNative.Kernels.Tests;

public sealed class GemmTests
{
    public static TheoryData<int, int, int> Shapes => new()
    {
        { 1, 1, 1 }, { 1, 33, 257 }, { 3, 5, 2 }, { 15, 31, 7 }, { 13, 97, 101 }, { 67, 129, 513 }, { 29, 64, 1031 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Product_AnyTransposeFormOnAnyPath_AgreesWithDoubleSums(int m, int n, int k)
    {
        foreach (VectorPath path in VectorPaths())
        {
            using CpuOps ops = new(new ThreadTeam(2), path);
            foreach ((bool transposeA, bool transposeB) in new[] { (false, false), (false, true), (true, false), (true, true) })
            {
                using NativeMatrix a = new(transposeA ? k : m, transposeA ? m : k, 1, gap: 3), b = new(transposeB ? n : k, transposeB ? k : n, 2);
                using NativeMatrix c = new(m, n, 3, gap: 5);
                float[] before = c.ToArray();
                ops.MatrixProduct(a.View, transposeA, b.View, transposeB, c.View, 0.5f, 2);
                c.AssertGapsUntouched();
                AssertProduct(a, transposeA, b, transposeB, c, before, k);
            }
        }
    }

    static void AssertProduct(NativeMatrix a, bool transposeA, NativeMatrix b, bool transposeB, NativeMatrix c, float[] before, int k)
    {
        for (int i = 0; i < c.View.Rows; i++)
        {
            for (int j = 0; j < c.View.Columns; j++)
            {
                double sum = 0, magnitude = 0;
                for (int l = 0; l < k; l++)
                {
                    double term = (double)(transposeA ? a[l, i] : a[i, l]) * (transposeB ? b[j, l] : b[l, j]);
                    sum += term;
                    magnitude += Math.Abs(term);
                }

                // k roundings of partial sums no larger than the sum of magnitudes, and two of the combination
                double old = 2 * before[(i * c.View.Columns) + j];
                double tolerance = (k + 2) * Math.Pow(2, -24) * ((0.5 * magnitude) + Math.Abs(old));
                Assert.InRange(c[i, j] - ((0.5 * sum) + old), -tolerance, tolerance);
            }
        }
    }

    [Theory]
    [InlineData(131, 300, 1100)]
    [InlineData(2100, 40, 70)]
    public void Product_AnyThreadCountAndPath_SameBits(int m, int n, int k)
    {
        using NativeMatrix a = new(m, k, 1), b = new(n, k, 2), c = new(m, n, 3);
        float[]? first = null;
        foreach (VectorPath path in VectorPaths())
        {
            foreach (int threads in new[] { 1, 2, 3, 7 })
            {
                using CpuOps ops = new(new ThreadTeam(threads), path);
                ops.MatrixProduct(a.View, false, b.View, true, c.View, 0.7f, 0);
                first ??= c.ToArray();
                Assert.Equal(first, c.ToArray());
            }
        }
    }

    [Fact]
    public void Product_SomeRowsOnly_SameBitsAsInTheWhole()
    {
        const int M = 77, N = 130, K = 600;
        using NativeMatrix a = new(M, K, 1), b = new(N, K, 2), whole = new(M, N, 3), part = new(M, N, 4);
        using CpuOps ops = new(new ThreadTeam(2), VectorPathChoice.Widest);
        ops.MatrixProduct(a.View, false, b.View, true, whole.View, 1, 0);
        foreach ((int start, int count) in new[] { (0, 1), (1, 8), (9, 3), (12, 65) })
        {
            ops.MatrixProduct(a.View.RowRange(start, count), false, b.View, true, part.View.RowRange(start, count), 1, 0);
        }

        Assert.Equal(whole.ToArray(), part.ToArray());
    }

    [Fact]
    public void Product_BetaZero_NeverReadsC()
    {
        using NativeMatrix a = new(9, 20, 1), b = new(20, 37, 2), c = new(9, 37, 3);
        c.Fill(float.NaN);
        using CpuOps ops = new(new ThreadTeam(2), VectorPathChoice.Widest);
        ops.MatrixProduct(a.View, false, b.View, false, c.View, 1, 0);
        Assert.DoesNotContain(c.ToArray(), float.IsNaN);
    }

    [Fact]
    public void Product_NothingToSum_LeavesBetaTimesC()
    {
        using NativeMatrix a = new(3, 0, 1), b = new(0, 4, 2), c = new(3, 4, 3);
        float[] expected = [.. c.ToArray().Select(value => 2 * value)];
        using CpuOps ops = new(new ThreadTeam(2), VectorPathChoice.Widest);
        ops.MatrixProduct(a.View, false, b.View, false, c.View, 1, 2);
        Assert.Equal(expected, c.ToArray());
    }

    [Fact]
    public void Product_ShapesThatDoNotFit_AreRefusedWithBoth()
    {
        using NativeMatrix a = new(4, 5, 1), b = new(6, 7, 2), c = new(4, 7, 3);
        using CpuOps ops = new(new ThreadTeam(1), VectorPathChoice.Widest);
        ArgumentException refused = Assert.Throws<ArgumentException>(() => ops.MatrixProduct(a.View, false, b.View, false, c.View, 1, 0));
        Assert.Contains("[4, 5]", refused.Message, StringComparison.Ordinal);
        Assert.Contains("[6, 7]", refused.Message, StringComparison.Ordinal);
    }

    static IEnumerable<VectorPath> VectorPaths() => Enum.GetValues<VectorPath>().Where(path => path <= VectorPathChoice.Widest);
}
