// A boundary's products against the oracle, and against the operations they replace, to the bit.
// Bound: as of a product, a sum of K terms rounds at most K+2 times; the sum is rounded to the compute type once.
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class BoundaryTests
{
    public static IEnumerable<object[]> Shapes => [[1, 8, 16], [7, 24, 40], [33, 72, 264], [130, 16, 128]];

    [Theory, Devices(nameof(Shapes))]
    public void Encode_AnyShape_AgreesWithOracleAndItsParts(string device, int rows, int codeWidth, int width)
    {
        using Workbench bench = new(device);
        double[] x = bench.Normal(rows * width), weight = bench.Normal(codeWidth * width), stream = bench.Normal(rows * width);
        Tensor tensorX = bench.Compute(x, rows, width), tensorWeight = bench.Compute(weight, codeWidth, width);
        Tensor residual = bench.Compute(stream, rows, width).ColumnRange(0, codeWidth), code = bench.Unwritten(rows, codeWidth), parts = bench.Unwritten(rows, codeWidth);
        bench.Ops.CodeEncode(tensorX, tensorWeight, residual, code);

        double[] expected = [.. stream.Where((_, i) => i % width < codeWidth)], magnitude = [.. expected.Select(Math.Abs)];
        Oracle.MatrixProduct([.. x.Select(Math.Abs)], false, [.. weight.Select(Math.Abs)], true, magnitude, rows, codeWidth, width, 1, 1);
        Oracle.MatrixProduct(x, false, weight, true, expected, rows, codeWidth, width, 1, 1);
        Close.Within(expected, bench.Get(code), i => (((width + 2) * Math.ScaleB(1, -24)) + bench.Unit) * magnitude[i], "code");

        bench.Ops.Copy(residual, parts);
        bench.Ops.MatrixProduct(tensorX, false, tensorWeight, true, parts, 1, 1);
        Assert.Equal(bench.Bits(parts), bench.Bits(code));
    }

    [Theory, Devices(nameof(Shapes))]
    public void Decode_AnyShape_AgreesWithOracleAndItsParts(string device, int rows, int codeWidth, int width)
    {
        using Workbench bench = new(device);
        double[] code = bench.Normal(rows * codeWidth), weight = bench.Normal(width * codeWidth), expected = new double[rows * width], magnitude = new double[rows * width];
        Tensor tensorCode = bench.Compute(code, rows, codeWidth), tensorWeight = bench.Compute(weight, width, codeWidth);
        Tensor output = bench.Unwritten(rows, width), parts = bench.Unwritten(rows, width);
        bench.Ops.CodeDecode(tensorCode, tensorWeight, output);

        Oracle.MatrixProduct([.. code.Select(Math.Abs)], false, [.. weight.Select(Math.Abs)], true, magnitude, rows, width, codeWidth, 1, 0);
        Oracle.MatrixProduct(code, false, weight, true, expected, rows, width, codeWidth, 1, 0);
        Close.Within([.. expected.Select(value => Math.Max(value, 0))], bench.Get(output), i => (((codeWidth + 2) * Math.ScaleB(1, -24)) + bench.Unit) * magnitude[i], "output");
        Assert.Contains(bench.Get(output), value => value == 0);

        bench.Ops.MatrixProduct(tensorCode, false, tensorWeight, true, parts, 1, 0);
        bench.Ops.ReluForward(parts, parts);
        Assert.Equal(bench.Get(parts), bench.Get(output));
    }
}
