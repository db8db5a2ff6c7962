// Moves, embedding and reductions: most are exact, so the expected bits follow from the definition.
using FsCheck.Fluent;
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class ElementwiseTests
{
    public static IEnumerable<object[]> Shapes => [[1, 1], [1, 40000], [3, 5], [33, 31], [5, 16411]];

    [Theory, Devices(nameof(Shapes))]
    public void Moves_AnyViews_AreExact(string device, int rows, int columns)
    {
        foreach ((int gapA, int gapB) in new[] { (0, 0), (3, 0), (0, 5), (2, 1) })
        {
            using Workbench bench = new(device);
            double[] a = bench.Normal(rows * columns), b = bench.Normal(rows * columns);
            Tensor source = bench.Single(a, rows, columns, gapA), destination = bench.Single(b, rows, columns, gapB);
            bench.Ops.Add(source, destination);
            Assert.Equal([.. a.Zip(b, (x, y) => (double)((float)x + (float)y))], bench.Get(destination));
            bench.Ops.Scale(destination, -0.5f);
            Assert.Equal([.. a.Zip(b, (x, y) => -0.5 * ((float)x + (float)y))], bench.Get(destination));
            bench.Ops.Copy(source, destination);
            Assert.Equal(a, bench.Get(destination));
            Tensor half = bench.Put(b, ElementType.BFloat16, rows, columns, gapB);
            bench.Ops.Copy(source, half);
            Assert.Equal([.. a.Select(x => (double)Numerics.BFloat16.ToSingle(Oracle.NearestBFloat16((float)x)))], bench.Get(half));
            bench.Ops.Copy(half, destination);
            Assert.Equal(bench.Get(half), bench.Get(destination));
            bench.Ops.Zero(destination);
            bench.Ops.Zero(half);
            Assert.All(bench.Get(destination), x => Assert.Equal(0, x));
            Assert.All(bench.Get(half), x => Assert.Equal(0, x));
        }
    }

    [Theory, Devices]
    public void Copy_ToBFloat16_KeepsInfinitiesAndNaN(string device)
    {
        using Workbench bench = new(device);
        double[] values = [double.PositiveInfinity, double.NegativeInfinity, double.NaN, 3.4e38, 1e-45, 1.00390625, 1.01171875];
        Tensor half = bench.Put(new double[values.Length], ElementType.BFloat16, 1, values.Length, 0);
        bench.Ops.Copy(bench.Single(values, 1, values.Length), half);
        // ties go to the even neighbour: 1 + 1/256 down to 1, 1 + 3/256 up to 1 + 4/256
        Assert.Equal([double.PositiveInfinity, double.NegativeInfinity, double.NaN, double.PositiveInfinity, 0, 1, 1.015625], bench.Get(half));
    }

    [Theory, Devices]
    public void Operands_OfDifferentShape_AreRefused(string device)
    {
        using Workbench bench = new(device);
        Tensor a = bench.UnwrittenSingle(3, 4), b = bench.UnwrittenSingle(4, 3);
        ArgumentException refused = Assert.ThrowsAny<ArgumentException>(() => bench.Ops.Add(a, b));
        Assert.Contains("[4, 3]", refused.Message, StringComparison.Ordinal);
        Assert.ThrowsAny<ArgumentException>(() => bench.Ops.Copy(a, b));
        Assert.ThrowsAny<ArgumentException>(() => bench.Ops.SwiGluForward(a, b));
        Assert.ThrowsAny<ArgumentException>(() => bench.Ops.Zero(default));
    }

    [Theory, Devices(nameof(Shapes))]
    public void Sums_AnyView_AgreeWithDoubleSums(string device, int rows, int columns)
    {
        using Workbench bench = new(device);
        double[] x = bench.Normal(rows * columns);
        Tensor results = bench.Put([7, 7, 7, 7, 7], ElementType.Float64, 1, 5, 0);
        bench.Ops.Sum(bench.Single(x, rows, columns), results, 0);
        bench.Ops.Sum(bench.Single(x, rows, columns, gap: 3), results, 1);
        bench.Ops.SumOfSquares(bench.Single(x, rows, columns), results, 2);
        bench.Ops.SumOfSquares(bench.Single(x, rows, columns, gap: 1), results, 4);
        double[] found = bench.Get(results);
        double bound = x.Length * Math.ScaleB(1, -53);
        Assert.InRange(found[0] - x.Sum(), -bound * x.Sum(Math.Abs), bound * x.Sum(Math.Abs));
        Assert.InRange(found[1] - x.Sum(), -bound * x.Sum(Math.Abs), bound * x.Sum(Math.Abs));
        double squares = x.Sum(value => value * value);
        Assert.InRange(found[2] - squares, -bound * squares, bound * squares);
        Assert.Equal(7, found[3]);
        Assert.InRange(found[4] - squares, -bound * squares, bound * squares);
    }

    [Theory, Devices]
    public void Embedding_AnyIds_GathersAndScattersInOrder(string device) => Law.Holds(Prop.ForAll(
        Gen.Choose(1, 70).Three().ToArbitrary(), shape =>
        {
            (int rows, int width, int vocabulary) = shape;
            width = width > 60 ? width * 5 : width;
            using Workbench bench = new(device, seed: rows + width);
            int[] ids = bench.Ids(rows, vocabulary);
            double[] table = bench.Normal(vocabulary * width), dy = bench.Normal(rows * width), gradTable = bench.Normal(vocabulary * width);
            Tensor output = bench.Unwritten(rows, width, gap: 1), gradient = bench.Single(gradTable, vocabulary, width);
            bench.Ops.EmbeddingForward(bench.Int32(ids), bench.Compute(table, vocabulary, width), output);
            bench.Ops.EmbeddingBackward(bench.Int32(ids), bench.Compute(dy, rows, width, gap: 2), gradient);
            Assert.Equal(Oracle.EmbeddingForward(ids, table, width), bench.Get(output));

            // the contract fixes the order of the additions, so the bits follow from sums in single precision
            float[] expected = [.. gradTable.Select(x => (float)x)];
            for (int i = 0; i < dy.Length; i++)
            {
                expected[(ids[i / width] * width) + (i % width)] += (float)dy[i];
            }

            Assert.Equal([.. expected.Select(x => (double)x)], bench.Get(gradient));
        }));

    [Fact]
    public void Oracle_EmbeddingGradient_AgreesWithCentralDifferences()
    {
        Random random = new(19);
        double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextDouble() - 0.5)];
        int[] ids = [2, 0, 2, 3];
        double[] table = Values(5 * 3), dy = Values(4 * 3), gradient = new double[5 * 3];
        Oracle.EmbeddingBackward(ids, dy, gradient, 3);
        Close.CentralDifferences(at => Close.Dot(Oracle.EmbeddingForward(ids, at, 3), dy), table, gradient, "table");
    }
}
