// AdamW and Muon against their formulas in double.
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class OptimizerTests
{
    public static IEnumerable<object[]> Shapes => [[1, 1], [1, 67], [5, 33], [64, 64], [3, 20001]];

    [Theory, Devices(nameof(Shapes))]
    public void AdamW_TenSteps_AgreeWithOracle(string device, int rows, int columns)
    {
        using Workbench bench = new(device);
        int count = rows * columns;
        double[] weight = bench.Normal(count), m = new double[count], v = new double[count];
        if (bench.Device.ComputeType != ElementType.Float32)
        {
            Assert.Skip("weights with a low half are compared by the device's own test; fix: run it on a device with Float32 weights");
        }

        Tensor tensorW = bench.Single(weight, rows, columns, gap: 1), tensorM = bench.Single(m, rows, columns), tensorV = bench.Single(v, rows, columns);
        for (int step = 1; step <= 10; step++)
        {
            double[] gradient = bench.Normal(count, 0.01);
            AdamWStep rule = new(step, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f);
            bench.Ops.AdamW(tensorW, default, bench.Single(gradient, rows, columns), tensorM, tensorV, bench.Settings(rule), bench.Factor(0.5));
            Oracle.AdamW(weight, gradient, m, v, rule, 0.5);
        }

        // per step: three roundings each of m and v, and of the weight one of its own and eight of the update, at most lr in size
        double unit = Math.ScaleB(1, -24);
        Close.Within(m, bench.Get(tensorM), i => 10 * 3 * unit * 0.05, "m");
        Close.Within(v, bench.Get(tensorV), i => 10 * 4 * unit * v[i], "v");
        Close.Within(weight, bench.Get(tensorW), i => 10 * unit * (2 * Math.Abs(weight[i]) + (40 * 1e-3)), "weight");
    }

    [Theory, Devices]
    public void AdamW_ZeroGradient_OnlyDecays(string device)
    {
        using Workbench bench = new(device);
        Assert.SkipUnless(bench.Device.ComputeType == ElementType.Float32, "weights with a low half are compared by the device's own test; fix: run it on a device with Float32 weights");
        Tensor weight = bench.Single([1, -2, 4], 1, 3), zeros = bench.Single(new double[3], 1, 3);
        bench.Ops.AdamW(weight, default, zeros, bench.Single(new double[3], 1, 3), bench.Single(new double[3], 1, 3), bench.Settings(new AdamWStep(1, 0.5f, 0.9f, 0.99f, 1e-8f, 0.5f)), bench.Factor(1));
        Assert.Equal([0.75, -1.5, 3], bench.Get(weight));
    }

    public static IEnumerable<object[]> Matrices => [[1, 5], [8, 8], [33, 17], [17, 33], [64, 160]];

    [Theory, Devices(nameof(Matrices))]
    public void Muon_ThreeSteps_AgreeWithOracle(string device, int rows, int columns)
    {
        using Workbench bench = new(device);
        Assert.SkipUnless(bench.Device.ComputeType == ElementType.Float32, "weights with a low half are compared by the device's own test; fix: run it on a device with Float32 weights");
        int count = rows * columns;
        double[] weight = bench.Normal(count), momentum = new double[count];
        Tensor tensorW = bench.Single(weight, rows, columns), tensorMomentum = bench.Single(momentum, rows, columns);
        nint scratch = bench.Scratch(bench.Ops.MuonBytes(rows, columns));
        MuonStep rule = new(0.02f, 0.95f, 0.1f);
        for (int step = 0; step < 3; step++)
        {
            double[] gradient = bench.Normal(count);
            bench.Ops.Muon(tensorW, default, bench.Single(gradient, rows, columns), tensorMomentum, bench.Settings(rule), bench.Factor(0.5), scratch);
            Oracle.Muon(weight, gradient, momentum, rows, columns, rule, 0.5);
        }

        // five iterations, each of whose three products sums at most n terms; a small singular value grows by at most 3.4445
        // an iteration, and its error with it
        double growth = Math.Pow(3.4445, 5), unit = Math.ScaleB(1, -24);
        double update = 0.02 * 0.2 * Math.Sqrt(Math.Max(rows, columns));
        double bound = 3 * ((update * growth * (Math.Max(rows, columns) + 8) * unit) + (3 * unit));
        Close.Within(weight, bench.Get(tensorW), i => bound * (1 + Math.Abs(weight[i])), "weight");
        Close.Within(momentum, bench.Get(tensorMomentum), _ => 12 * unit * momentum.Max(Math.Abs), "momentum");
    }

    [Theory]
    [InlineData(12, 12)]
    [InlineData(8, 20)]
    [InlineData(20, 8)]
    public void Oracle_Orthogonalize_BringsEverySingularValueNearOne(int rows, int columns)
    {
        Random random = new(17);
        double[] matrix = [.. Enumerable.Range(0, rows * columns).Select(_ => random.NextDouble() - 0.5)];
        double[] x = Oracle.Orthogonalize(matrix, rows, columns);
        int n = Math.Min(rows, columns);
        double[] gram = new double[n * n];
        Oracle.MatrixProduct(x, rows > columns, x, rows <= columns, gram, n, n, Math.Max(rows, columns), 1, 0);
        // the squares of the singular values sum to the trace; the iteration aims each into [0.7, 1.2]
        double trace = Enumerable.Range(0, n).Sum(i => gram[(i * n) + i]);
        Assert.InRange(trace / n, 0.45, 1.5);
        Assert.All(Enumerable.Range(0, n * n).Where(i => i / n != i % n), i => Assert.InRange(gram[i], -0.4, 0.4));
    }
}
