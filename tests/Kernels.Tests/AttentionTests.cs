// Causal grouped-query attention against the oracle, gradients against central differences, and its laws.
// Bound: a score sums D products, an output up to T; scores are of the order of 1, and the exponential turns their absolute
// error into a relative one.
using FsCheck.Fluent;
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class AttentionTests
{
    public static IEnumerable<object[]> Shapes =>
    [
        [1, 1, 1, 1, 8], [2, 3, 2, 1, 16], [1, 70, 4, 2, 64], [3, 33, 3, 3, 24], [1, 130, 2, 1, 128],
    ];

    [Theory, Devices(nameof(Shapes))]
    public void Forward_AnyShape_AgreesWithOracle(string device, int sequences, int tokens, int queryHeads, int keyValueHeads, int headWidth)
    {
        using Workbench bench = new(device);
        AttentionShape shape = new(sequences, tokens, queryHeads, keyValueHeads, headWidth);
        double[] qkv = bench.Normal(shape.Rows * shape.PackedColumns);
        Tensor output = bench.Unwritten(shape.Rows, shape.OutputColumns), lse = bench.UnwrittenSingle(sequences * queryHeads, tokens);
        bench.Ops.AttentionForward(bench.Compute(qkv, shape.Rows, shape.PackedColumns), output, lse, shape);
        (double[] expected, double[] expectedLse) = Oracle.AttentionForward(qkv, shape);
        double bound = Bound(bench, shape);
        Close.Within(expected, bench.Get(output), _ => bound, "output");
        Close.Within(expectedLse, bench.Get(lse), i => bound * (1 + Math.Abs(expectedLse[i])), "logSumExp");
    }

    [Theory, Devices(nameof(Shapes))]
    public void Backward_AnyShape_AgreesWithOracle(string device, int sequences, int tokens, int queryHeads, int keyValueHeads, int headWidth)
    {
        using Workbench bench = new(device);
        AttentionShape shape = new(sequences, tokens, queryHeads, keyValueHeads, headWidth);
        double[] qkv = bench.Normal(shape.Rows * shape.PackedColumns), dy = bench.Normal(shape.Rows * shape.OutputColumns);
        Tensor packed = bench.Compute(qkv, shape.Rows, shape.PackedColumns), gradient = bench.Unwritten(shape.Rows, shape.PackedColumns);
        Tensor output = bench.Unwritten(shape.Rows, shape.OutputColumns), lse = bench.UnwrittenSingle(sequences * queryHeads, tokens);
        bench.Ops.AttentionForward(packed, output, lse, shape);
        nint scratch = bench.Scratch(bench.Ops.AttentionBackwardBytes(shape));
        bench.Ops.AttentionBackward(packed, output, bench.Compute(dy, shape.Rows, shape.OutputColumns), lse, gradient, scratch, shape);
        double[] expected = Oracle.AttentionBackward(qkv, dy, shape);
        // a key's gradient sums over the queries behind it and over the query heads that share it
        double bound = Bound(bench, shape) * (1 + expected.Max(Math.Abs));
        Close.Within(expected, bench.Get(gradient), _ => bound, "gradient");
    }

    [Theory, Devices]
    public void Backward_WithAngles_IsTheGradientBeforeTheRotation(string device)
    {
        const double Base = 10_000;
        const int Start = 3;
        using Workbench bench = new(device);
        AttentionShape shape = new(2, 21, 4, 2, 32);
        double[] before = bench.Normal(shape.Rows * shape.PackedColumns), dy = bench.Normal(shape.Rows * shape.OutputColumns);
        Tensor packed = bench.Compute(before, shape.Rows, shape.PackedColumns), gradient = bench.Unwritten(shape.Rows, shape.PackedColumns);
        Tensor output = bench.Unwritten(shape.Rows, shape.OutputColumns), lse = bench.UnwrittenSingle(shape.Sequences * shape.QueryHeads, shape.Tokens);
        Tensor angles = bench.UnwrittenSingle(Start + shape.Tokens, shape.HeadWidth);
        bench.Ops.RotaryTable(angles, Base);
        bench.Ops.Rotary(packed, angles, shape, Start, inverse: false);
        bench.Ops.AttentionForward(packed, output, lse, shape);
        nint scratch = bench.Scratch(bench.Ops.AttentionBackwardBytes(shape));
        bench.Ops.AttentionBackward(packed, output, bench.Compute(dy, shape.Rows, shape.OutputColumns), lse, gradient, scratch, shape, angles, Start);

        Oracle.Rotary(before, shape, Base, Start, inverse: false);
        double[] expected = Oracle.AttentionBackward(before, dy, shape);
        Oracle.Rotary(expected, shape, Base, Start, inverse: true);
        double bound = Bound(bench, shape) * (1 + expected.Max(Math.Abs));
        Close.Within(expected, bench.Get(gradient), _ => bound, "gradient");
    }

    [Theory, Devices]
    public void Cached_TokensInPieces_AgreeWithTheWholeSequence(string device)
    {
        using Workbench bench = new(device);
        AttentionShape shape = new(1, 23, 4, 2, 16);
        double[] qkv = bench.Normal(shape.Rows * shape.PackedColumns);
        Tensor packed = bench.Compute(qkv, shape.Rows, shape.PackedColumns), output = bench.Unwritten(shape.Rows, shape.OutputColumns);
        Tensor keys = bench.Unwritten(32, 32), values = bench.Unwritten(32, 32);
        for (int start = 0, count; start < shape.Rows; start += count)
        {
            count = start == 0 ? 9 : start == 9 ? 1 : 13;
            bench.Ops.AttentionCached(packed.RowRange(start, count), keys, values, start, output.RowRange(start, count), shape with { Tokens = count });
        }

        double bound = Bound(bench, shape);
        Close.Within(Oracle.AttentionForward(qkv, shape).Output, bench.Get(output), _ => bound, "output");
    }

    [Theory, Devices]
    public void Forward_ConstantValues_AreReturned(string device) => ForRandomShapes(device, (bench, shape) =>
    {
        double[] qkv = bench.Normal(shape.Rows * shape.PackedColumns, 3);
        int values = (shape.QueryHeads + shape.KeyValueHeads) * shape.HeadWidth;
        for (int i = 0; i < qkv.Length; i++)
        {
            qkv[i] = i % shape.PackedColumns < values ? qkv[i] : 0.75;
        }

        double[] output = Forward(bench, qkv, shape);
        double bound = Bound(bench, shape);
        Close.Within([.. output.Select(_ => 0.75)], output, _ => bound, "output");
    });

    [Theory, Devices]
    public void Forward_LaterTokensChanged_LeavesEarlierOutputsToTheBit(string device) => ForRandomShapes(device, (bench, shape) =>
    {
        double[] qkv = bench.Normal(shape.Rows * shape.PackedColumns);
        double[] before = Forward(bench, qkv, shape);
        int from = shape.Tokens / 2;
        for (int i = 0; i < qkv.Length; i++)
        {
            if (i / shape.PackedColumns % shape.Tokens >= from)
            {
                qkv[i] += 1;
            }
        }

        double[] after = Forward(bench, qkv, shape);
        for (int i = 0; i < after.Length; i++)
        {
            if (i / shape.OutputColumns % shape.Tokens < from)
            {
                Assert.Equal(before[i], after[i]);
            }
        }
    });

    [Fact]
    public void Oracle_Gradients_AgreeWithCentralDifferences()
    {
        Random random = new(11);
        AttentionShape shape = new(2, 4, 4, 2, 3);
        double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextDouble() - 0.5)];
        double[] qkv = Values(shape.Rows * shape.PackedColumns), dy = Values(shape.Rows * shape.OutputColumns);
        Close.CentralDifferences(at => Close.Dot(Oracle.AttentionForward(at, shape).Output, dy), qkv, Oracle.AttentionBackward(qkv, dy, shape), "qkv");
    }

    static double[] Forward(Workbench bench, double[] qkv, AttentionShape shape)
    {
        Tensor output = bench.Unwritten(shape.Rows, shape.OutputColumns), lse = bench.UnwrittenSingle(shape.Sequences * shape.QueryHeads, shape.Tokens);
        bench.Ops.AttentionForward(bench.Compute(qkv, shape.Rows, shape.PackedColumns), output, lse, shape);
        return bench.Get(output);
    }

    static void ForRandomShapes(string device, Action<Workbench, AttentionShape> law) => Law.Holds(Prop.ForAll(
        Gen.Choose(1, 3).Three().ToArbitrary(), Gen.Choose(1, 90).ToArbitrary(), (heads, tokens) =>
        {
            (int sequences, int groups, int perGroup) = heads;
            using Workbench bench = new(device, seed: tokens);
            law(bench, new AttentionShape(sequences, tokens, groups * perGroup, groups, 16));
        }), cases: 15);

    static double Bound(Workbench bench, AttentionShape shape) =>
        ((shape.HeadWidth + shape.Tokens + 16) * Math.ScaleB(1, -24) * 8) + (bench.Unit > 1e-6 ? 16 * bench.Unit : 0);
}
