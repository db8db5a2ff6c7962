// RMSNorm against the oracle, its gradients against central differences, and its law: scaling the input changes nothing.
// Bounds: the mean of C squares is off by at most C/2+3 roundings of a positive sum, halved by the root; 4 more per element.
using FsCheck.Fluent;
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class RmsNormTests
{
    const float Epsilon = 1e-5f;

    public static IEnumerable<object[]> Shapes => [[1, 1], [1, 64], [3, 5], [16, 17], [33, 129], [130, 96], [1100, 31]];

    [Theory, Devices(nameof(Shapes))]
    public void Forward_AnyShape_AgreesWithOracle(string device, int rows, int columns)
    {
        using Workbench bench = new(device);
        double[] x = bench.Normal(rows * columns, 3), weight = bench.Normal(columns);
        Tensor output = bench.Unwritten(rows, columns, gap: 2), rstd = bench.UnwrittenSingle(rows, 1);
        bench.Ops.RmsNormForward(bench.Compute(x, rows, columns, gap: 4), bench.Compute(weight, 1, columns), output, rstd, Epsilon);

        (double[] expected, double[] expectedRstd) = Oracle.RmsNormForward(x, weight, Epsilon);
        Close.Within(expectedRstd, bench.Get(rstd), i => Roundings(columns) * expectedRstd[i], "rstd");
        Close.Within(expected, bench.Get(output), i => (Roundings(columns) + bench.Unit) * Math.Abs(expected[i]), "output");
    }

    [Theory, Devices(nameof(Shapes))]
    public void AddForward_AnyShape_AgreesWithOracle(string device, int rows, int columns)
    {
        using Workbench bench = new(device);
        double[] x = bench.Normal(rows * columns), y = bench.Normal(rows * columns), weight = bench.Normal(columns);
        Tensor tensorX = bench.Compute(x, rows, columns, gap: 1), tensorY = bench.Compute(y, rows, columns), tensorWeight = bench.Compute(weight, 1, columns);
        Tensor output = bench.Unwritten(rows, columns), rstd = bench.UnwrittenSingle(rows, 1), sum = bench.Unwritten(rows, columns, gap: 3);
        bench.Ops.AddRmsNormForward(tensorX, tensorY, tensorWeight, sum, output, rstd, Epsilon);

        double[] sums = bench.Get(sum);
        Close.Within([.. x.Zip(y, (a, b) => a + b)], sums, i => bench.Unit * Math.Abs(x[i] + y[i]), "sum");
        (double[] expected, double[] expectedRstd) = Oracle.RmsNormForward(sums, weight, Epsilon);
        double fused = bench.Unit > 1e-6 ? 2 * bench.Unit : 0;   // a device may normalise the sum before it is rounded
        Close.Within(expectedRstd, bench.Get(rstd), i => (Roundings(columns) + fused) * expectedRstd[i], "rstd");
        Close.Within(expected, bench.Get(output), i => (Roundings(columns) + bench.Unit + (2 * fused)) * Math.Abs(expected[i]), "output");

        // in place over x: the same bits
        bench.Ops.AddRmsNormForward(tensorX, tensorY, tensorWeight, tensorX, output, rstd, Epsilon);
        Assert.Equal(bench.Bits(sum), bench.Bits(tensorX));
    }

    [Theory, Devices(nameof(Shapes))]
    public void Backward_AnyShape_AgreesWithOracle(string device, int rows, int columns)
    {
        using Workbench bench = new(device);
        double[] x = bench.Normal(rows * columns, 2), weight = bench.Normal(columns), dy = bench.Normal(rows * columns);
        double[] before = bench.Normal(rows * columns), beforeWeight = bench.Normal(columns);
        Tensor tensorX = bench.Compute(x, rows, columns, gap: 1), tensorWeight = bench.Compute(weight, 1, columns);
        Tensor gradOutput = bench.Compute(dy, rows, columns, gap: 2);
        Tensor written = bench.Unwritten(rows, columns, gap: 3), added = bench.Compute(before, rows, columns);
        Tensor gradWeight = bench.Single(beforeWeight, 1, columns), gradWeightAgain = bench.Single(beforeWeight, 1, columns);
        (double[] _, double[] rstds) = Oracle.RmsNormForward(x, weight, Epsilon);
        Tensor rstd = bench.Single(rstds, rows, 1);
        bench.Ops.RmsNormBackward(gradOutput, tensorX, tensorWeight, rstd, written, false, gradWeight);
        bench.Ops.RmsNormBackward(gradOutput, tensorX, tensorWeight, rstd, added, true, gradWeightAgain);

        (double[] dx, double[] dw) = Oracle.RmsNormBackward(dy, x, weight, Epsilon);
        double[] Magnitude() // the largest that a row's two terms can be, before they cancel
        {
            double[] sizes = new double[rows];
            for (int i = 0; i < x.Length; i++)
            {
                int row = i / columns;
                sizes[row] = Math.Max(sizes[row], rstds[row] * Math.Abs(weight[i % columns] * dy[i]));
            }

            return sizes;
        }

        double[] size = Magnitude();
        // x*rstd is at most sqrt(C), and so is what the mean of C terms times it can reach
        double Bound(int i) => (Roundings(columns) + bench.Unit) * size[i / columns] * (1 + Math.Sqrt(columns));
        Close.Within(dx, bench.Get(written), Bound, "dx");
        Close.Within([.. dx.Zip(before, (a, b) => a + b)], bench.Get(added), i => Bound(i) + (bench.Unit * Math.Abs(dx[i] + before[i])), "dx, added");

        double[] sumOfMagnitudes = new double[columns];
        for (int i = 0; i < x.Length; i++)
        {
            sumOfMagnitudes[i % columns] += Math.Abs(dy[i] * x[i] * rstds[i / columns]);
        }

        Close.Within([.. dw.Zip(beforeWeight, (a, b) => a + b)], bench.Get(gradWeight),
            i => (rows + 4) * Math.ScaleB(1, -24) * (sumOfMagnitudes[i] + Math.Abs(beforeWeight[i])), "dw");
        Assert.Equal(bench.Bits(gradWeight), bench.Bits(gradWeightAgain));

        bench.Ops.RmsNormBackward(gradOutput, tensorX, tensorWeight, rstd, gradOutput, false, gradWeight);
        Assert.Equal(bench.Bits(written), bench.Bits(gradOutput));
    }

    [Theory, Devices]
    public void Forward_InputScaledByAPowerOfTwo_GivesTheSameBits(string device)
    {
        Law.Holds(Prop.ForAll(Gen.Choose(1, 70).Two().ToArbitrary(), Gen.Choose(-8, 8).ToArbitrary(), (shape, power) =>
        {
            (int rows, int columns) = shape;
            using Workbench bench = new(device, seed: (rows * 71) + columns);
            double[] x = bench.Normal(rows * columns);
            Tensor weight = bench.Compute(bench.Normal(columns), 1, columns);
            Tensor plain = bench.Unwritten(rows, columns), scaled = bench.Unwritten(rows, columns), rstd = bench.UnwrittenSingle(rows, 1);
            bench.Ops.RmsNormForward(bench.Compute(x, rows, columns), weight, plain, rstd, 0);
            bench.Ops.RmsNormForward(bench.Compute([.. x.Select(v => Math.ScaleB(v, 2 * power))], rows, columns), weight, scaled, rstd, 0);
            Assert.Equal(bench.Bits(plain), bench.Bits(scaled));
        }));
    }

    [Fact]
    public void Oracle_Gradients_AgreeWithCentralDifferences()
    {
        Random random = new(5);
        double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextDouble() - 0.5)];
        double[] x = Values(3 * 7), weight = Values(7), dy = Values(3 * 7);
        (double[] dx, double[] dw) = Oracle.RmsNormBackward(dy, x, weight, Epsilon);
        Close.CentralDifferences(at => Close.Dot(Oracle.RmsNormForward(at, weight, Epsilon).Output, dy), x, dx, "dx");
        Close.CentralDifferences(at => Close.Dot(Oracle.RmsNormForward(x, at, Epsilon).Output, dy), weight, dw, "dw");
    }

    [Theory, Devices]
    public void Backward_WrongWidthOfWeight_IsRefusedByName(string device)
    {
        using Workbench bench = new(device);
        Tensor x = bench.Unwritten(2, 8), rstd = bench.UnwrittenSingle(2, 1), weight = bench.Unwritten(1, 7);
        ArgumentException refused = Assert.ThrowsAny<ArgumentException>(() => bench.Ops.RmsNormForward(x, weight, x, rstd, Epsilon));
        Assert.Contains("RmsNormForward", refused.Message, StringComparison.Ordinal);
        Assert.Equal("weight", refused.ParamName);
    }

    static double Roundings(int columns) => ((columns / 4.0) + 8) * Math.ScaleB(1, -24);
}
