// Rotary embedding against the oracle, and its laws: a rotation keeps lengths, the inverse undoes it, values stay as they are.
using FsCheck.Fluent;
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class RotaryTests
{
    const double Base = 500_000;

    public static IEnumerable<object[]> Shapes =>
        [[1, 1, 1, 1, 2, 0], [2, 5, 3, 1, 6, 0], [1, 17, 4, 2, 64, 3], [3, 20, 2, 2, 34, 100]];

    [Theory, Devices(nameof(Shapes))]
    public void Rotary_AnyShape_AgreesWithOracle(string device, int sequences, int tokens, int queryHeads, int keyValueHeads, int headWidth, int start)
    {
        using Workbench bench = new(device);
        AttentionShape shape = new(sequences, tokens, queryHeads, keyValueHeads, headWidth);
        double[] qkv = bench.Normal(shape.Rows * shape.PackedColumns);
        Tensor table = bench.UnwrittenSingle(start + tokens, headWidth), rotated = bench.Compute(qkv, shape.Rows, shape.PackedColumns);
        bench.Ops.RotaryTable(table, Base);
        bench.Ops.Rotary(rotated, table, shape, start, inverse: false);
        double[] expected = (double[])qkv.Clone();
        Oracle.Rotary(expected, shape, Base, start, inverse: false);
        double largest = qkv.Max(Math.Abs);
        // two table entries, two products, one sum
        Close.Within(expected, bench.Get(rotated), _ => ((5 * Math.ScaleB(1, -24)) + bench.Unit) * 2 * largest, "rotated");
    }

    [Theory, Devices]
    public void Rotary_ThereAndBack_IsTheIdentityAndLeavesValuesAlone(string device)
    {
        ForRandomShapes(device, (bench, shape, start) =>
        {
            double[] qkv = bench.Normal(shape.Rows * shape.PackedColumns);
            Tensor table = bench.UnwrittenSingle(start + shape.Tokens, shape.HeadWidth), rotated = bench.Compute(qkv, shape.Rows, shape.PackedColumns, gap: 3);
            bench.Ops.RotaryTable(table, Base);
            bench.Ops.Rotary(rotated, table, shape, start, inverse: false);
            double[] there = bench.Get(rotated);
            int values = (shape.QueryHeads + shape.KeyValueHeads) * shape.HeadWidth;
            for (int i = 0; i < qkv.Length; i++)
            {
                Assert.True(i % shape.PackedColumns < values || there[i] == qkv[i], "a value was rotated");
            }

            bench.Ops.Rotary(rotated, table, shape, start, inverse: true);
            // lengths stay, so two rotations are off by ten roundings of the largest pair
            double bound = ((10 * Math.ScaleB(1, -24)) + (2 * bench.Unit)) * 2 * qkv.Max(Math.Abs);
            Close.Within(qkv, bench.Get(rotated), _ => bound, "back");
        });
    }

    static void ForRandomShapes(string device, Action<Workbench, AttentionShape, int> law) => Law.Holds(Prop.ForAll(
        Gen.Choose(1, 9).Three().ToArbitrary(), Gen.Choose(0, 40).Two().ToArbitrary(), (heads, rest) =>
        {
            (int groups, int perGroup, int half) = heads;
            (int start, int tokens) = rest;
            using Workbench bench = new(device, seed: start + tokens);
            law(bench, new AttentionShape(1 + (tokens % 2), tokens + 1, groups * perGroup, groups, 2 * half), start);
        }));

    [Fact]
    public void Oracle_InverseRotation_IsTheGradient()
    {
        Random random = new(7);
        AttentionShape shape = new(1, 3, 2, 1, 4);
        double[] Values() => [.. Enumerable.Range(0, shape.Rows * shape.PackedColumns).Select(_ => random.NextDouble() - 0.5)];
        double[] qkv = Values(), dy = Values();
        double[] gradient = (double[])dy.Clone();
        Oracle.Rotary(gradient, shape, Base, 5, inverse: true);
        Close.CentralDifferences(at =>
        {
            double[] rotated = (double[])at.Clone();
            Oracle.Rotary(rotated, shape, Base, 5, inverse: false);
            return Close.Dot(rotated, dy);
        }, qkv, gradient, "rotary");
    }

    [Theory, Devices]
    public void Rotary_PositionBeyondTheTable_IsRefused(string device)
    {
        using Workbench bench = new(device);
        AttentionShape shape = new(1, 4, 1, 1, 8);
        Tensor table = bench.UnwrittenSingle(4, 8), qkv = bench.Unwritten(4, 24);
        Assert.ThrowsAny<ArgumentException>(() => bench.Ops.Rotary(qkv, table, shape, startPosition: 1, inverse: false));
    }
}
