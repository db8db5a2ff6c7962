// c = alpha*op(a)*op(b) + beta*c against the oracle and the laws of a product.
// Bound: a sum of K products rounds at most K+2 times, each rounding at most 2^-24 of the sum of the magnitudes.
using FsCheck.Fluent;
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class MatrixProductTests
{
    public static IEnumerable<object[]> Shapes =>
    [
        [1, 1, 1], [1, 67, 33], [5, 3, 257], [17, 1, 19], [64, 48, 32], [97, 131, 300],
    ];

    [Theory, Devices(nameof(Shapes))]
    public void Product_EveryTransposeForm_AgreesWithOracle(string device, int m, int n, int k)
    {
        using Workbench bench = new(device);
        foreach ((bool transposeA, bool transposeB, float alpha, float beta) in new[]
        {
            (false, false, 1f, 0f), (false, true, 0.5f, 1f), (true, false, 1f, 1f), (true, true, -2f, 0.25f),
        })
        {
            double[] a = bench.Normal(m * k), b = bench.Normal(k * n), c = bench.Normal(m * n);
            Tensor tensorA = transposeA ? bench.Compute(a, k, m, gap: 3) : bench.Compute(a, m, k, gap: 3);
            Tensor tensorB = transposeB ? bench.Compute(b, n, k, gap: 5) : bench.Compute(b, k, n, gap: 5);
            Tensor tensorC = bench.Compute(c, m, n, gap: 1);
            bench.Ops.MatrixProduct(tensorA, transposeA, tensorB, transposeB, tensorC, alpha, beta);

            double[] magnitude = [.. c.Select(Math.Abs)];
            Oracle.MatrixProduct([.. a.Select(Math.Abs)], transposeA, [.. b.Select(Math.Abs)], transposeB, magnitude, m, n, k, Math.Abs(alpha), beta);
            Oracle.MatrixProduct(a, transposeA, b, transposeB, c, m, n, k, alpha, beta);
            Close.Within(c, bench.Get(tensorC), i => ((k + 2) * Math.ScaleB(1, -24) + bench.Unit) * magnitude[i], $"c, {transposeA}, {transposeB}");
        }
    }

    [Theory, Devices]
    public void Product_BetaZero_DoesNotReadTheResult(string device)
    {
        using Workbench bench = new(device);
        Tensor c = bench.Unwritten(7, 9);
        bench.Ops.MatrixProduct(bench.Compute(bench.Normal(7 * 5), 7, 5), false, bench.Compute(bench.Normal(5 * 9), 5, 9), false, c, 1, 0);
        Assert.DoesNotContain(bench.Get(c), double.IsNaN);
    }

    [Theory, Devices]
    public void Product_OfASumOfOperands_IsTheSumOfProducts(string device)
    {
        // small integers: every product and sum is exact, so the law holds to the bit
        Law.Holds(Prop.ForAll(Gen.Choose(1, 40).Three().ToArbitrary(), shape =>
        {
            (int m, int n, int k) = shape;
            using Workbench bench = new(device, seed: (m * 1681) + (n * 41) + k);
            double[] Integers(int count) => [.. Enumerable.Range(0, count).Select(_ => (double)bench.Random.Next(-3, 4))];
            double[] a = Integers(m * k), b = Integers(m * k), x = Integers(k * n);
            double[] both = [.. a.Zip(b, (p, q) => p + q)];
            Tensor tensorX = bench.Compute(x, k, n);
            Tensor sum = bench.UnwrittenSingle(m, n), parts = bench.UnwrittenSingle(m, n);
            bench.Ops.MatrixProduct(bench.Compute(both, m, k), false, tensorX, false, sum, 1, 0);
            bench.Ops.MatrixProduct(bench.Compute(a, m, k), false, tensorX, false, parts, 1, 0);
            bench.Ops.MatrixProduct(bench.Compute(b, m, k), false, tensorX, false, parts, 1, 1);
            Assert.Equal(bench.Get(sum), bench.Get(parts));
        }));
    }

    [Theory, Devices]
    public void Product_ShapesThatDoNotFit_AreRefused(string device)
    {
        using Workbench bench = new(device);
        Tensor a = bench.Unwritten(4, 5), b = bench.Unwritten(6, 7), c = bench.Unwritten(4, 7);
        ArgumentException refused = Assert.ThrowsAny<ArgumentException>(() => bench.Ops.MatrixProduct(a, false, b, false, c, 1, 0));
        Assert.Contains("5", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Oracle_Gradients_AgreeWithCentralDifferences()
    {
        const int m = 3, n = 4, k = 5;
        Random random = new(3);
        double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextDouble() - 0.5)];
        double[] x = Values(m * k), weight = Values(n * k), dy = Values(m * n);
        double[] Forward(double[] input, double[] w)
        {
            double[] y = new double[m * n];
            Oracle.MatrixProduct(input, false, w, true, y, m, n, k, 1, 0);
            return y;
        }

        double[] dx = new double[m * k], dw = new double[n * k];
        Oracle.MatrixProduct(dy, false, weight, false, dx, m, k, n, 1, 0);
        Oracle.MatrixProduct(dy, true, x, false, dw, n, k, m, 1, 0);
        Close.CentralDifferences(at => Close.Dot(Forward(at, weight), dy), x, dx, "dx");
        Close.CentralDifferences(at => Close.Dot(Forward(x, at), dy), weight, dw, "dw");
    }
}
