// SwiGLU and the boundary activations against the oracle; gradients against central differences.
// Bounds: exp is good to 1.5 units in the last place, a sigmoid to 4 roundings, a product of two to 8.
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class SwiGluTests
{
    public static IEnumerable<object[]> Shapes => [[1, 1], [1, 64], [3, 5], [17, 33], [40, 257], [2, 20000]];

    [Theory, Devices(nameof(Shapes))]
    public void Forward_AnyShape_AgreesWithOracle(string device, int rows, int width)
    {
        using Workbench bench = new(device);
        double[] gateUp = bench.Normal(rows * 2 * width, 4);
        Tensor output = bench.Unwritten(rows, width, gap: 3);
        bench.Ops.SwiGluForward(bench.Compute(gateUp, rows, 2 * width, gap: 1), output);
        double[] expected = Oracle.SwiGluForward(gateUp, width);
        Close.Within(expected, bench.Get(output), i => ((8 * Math.ScaleB(1, -24)) + bench.Unit) * Math.Abs(expected[i]), "s");
    }

    [Theory, Devices(nameof(Shapes))]
    public void Backward_AnyShape_LeavesGradientsAndTheOutput(string device, int rows, int width)
    {
        using Workbench bench = new(device);
        double[] gateUp = bench.Normal(rows * 2 * width, 4), dy = bench.Normal(rows * width);
        Tensor inOut = bench.Compute(gateUp, rows, 2 * width, gap: 2), gradOutput = bench.Compute(dy, rows, width, gap: 1);
        Tensor output = bench.Unwritten(rows, width);
        bench.Ops.SwiGluForward(inOut, output);
        bench.Ops.SwiGluBackward(inOut, gradOutput);

        double[] expected = Oracle.SwiGluBackward(gateUp, dy, width);
        // the slope of silu is a sum of two terms that cancel near -1.28; each is at most 1.1 in size
        Close.Within(expected, bench.Get(inOut), i =>
        {
            int gate = i % (2 * width), row = i / (2 * width);
            double factor = dy[(row * width) + (gate % width)] * (gate < width ? gateUp[(row * 2 * width) + gate + width] : 1);
            double size = gate < width ? 1.1 * Math.Abs(factor) : Math.Abs(expected[i]);
            return (12 * Math.ScaleB(1, -24) * size) + (bench.Unit * Math.Abs(expected[i]));
        }, "gradient");
        double[] s = Oracle.SwiGluForward(gateUp, width);
        Close.Within(s, bench.Get(gradOutput), i => ((8 * Math.ScaleB(1, -24)) + bench.Unit) * Math.Abs(s[i]), "s again");
        Assert.Equal(bench.Bits(output), bench.Bits(gradOutput));
    }

    [Theory, Devices]
    public void Forward_ExtremeGates_HaveTheirLimits(string device)
    {
        using Workbench bench = new(device);
        double[] gates = [double.NegativeInfinity, -1e30, -200, 0, 200, 1e30, double.NaN];
        Tensor output = bench.Unwritten(1, gates.Length);
        bench.Ops.SwiGluForward(bench.Compute([.. gates, .. Enumerable.Repeat(1.0, gates.Length)], 1, 2 * gates.Length), output);
        double[] found = bench.Get(output);
        Assert.All(found[..4], value => Assert.True(Math.Abs(value) == 0));
        Close.Within([200, 1e30], found[4..6], i => bench.Unit * 1e31, "large");
        Assert.True(Math.Abs(found[4] - 200) <= 200 * bench.Unit);
        Assert.True(double.IsNaN(found[6]), "a NaN must stay visible");
    }

    [Theory, Devices(nameof(Shapes))]
    public void Activations_AnyShape_AgreeWithOracle(string device, int rows, int width)
    {
        using Workbench bench = new(device);
        double[] x = bench.Normal(rows * width, 3), dy = bench.Normal(rows * width);
        Tensor tensorX = bench.Compute(x, rows, width, gap: 1), gradOutput = bench.Compute(dy, rows, width);
        Tensor silu = bench.Unwritten(rows, width), relu = bench.Unwritten(rows, width, gap: 2);
        Tensor siluGradient = bench.Unwritten(rows, width), reluGradient = bench.Unwritten(rows, width);
        bench.Ops.SiluForward(tensorX, silu);
        bench.Ops.ReluForward(tensorX, relu);
        bench.Ops.SiluBackward(tensorX, gradOutput, siluGradient);
        bench.Ops.ReluBackward(relu, gradOutput, reluGradient);

        double rounding = (8 * Math.ScaleB(1, -24)) + bench.Unit;
        Close.Within([.. x.Select(Oracle.Silu)], bench.Get(silu), i => rounding * Math.Abs(Oracle.Silu(x[i])), "silu");
        Close.Within([.. x.Select(Oracle.Relu)], bench.Get(relu), _ => 0, "relu");
        Close.Within([.. x.Zip(dy, (at, gradient) => gradient * Oracle.SiluSlope(at))], bench.Get(siluGradient),
            i => ((12 * Math.ScaleB(1, -24) * 1.1) + bench.Unit) * Math.Abs(dy[i]), "silu gradient");
        Close.Within([.. x.Zip(dy, (at, gradient) => gradient * Oracle.ReluSlope(at))], bench.Get(reluGradient), _ => 0, "relu gradient");

        bench.Ops.SiluBackward(tensorX, gradOutput, gradOutput);
        Assert.Equal(bench.Bits(siluGradient), bench.Bits(gradOutput));
        bench.Ops.SiluForward(tensorX, tensorX);
        Assert.Equal(bench.Bits(silu), bench.Bits(tensorX));
    }

    [Fact]
    public void Oracle_Gradients_AgreeWithCentralDifferences()
    {
        Random random = new(5);
        double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => (random.NextDouble() * 4) - 2)];
        double[] gateUp = Values(2 * 3 * 5), dy = Values(3 * 5), x = Values(20);
        Close.CentralDifferences(at => Close.Dot(Oracle.SwiGluForward(at, 5), dy), gateUp, Oracle.SwiGluBackward(gateUp, dy, 5), "swiglu");
        Close.CentralDifferences(at => at.Sum(Oracle.Silu), x, [.. x.Select(Oracle.SiluSlope)], "silu");
        Close.CentralDifferences(at => at.Sum(Oracle.Relu), x, [.. x.Select(Oracle.ReluSlope)], "relu");
    }
}
