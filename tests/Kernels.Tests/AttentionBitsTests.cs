// What attention promises to the bit: a query's output depends on its own row and the rows before it. Not on the thread count,
// not on the vector width, not on later tokens, and generation token by token gives what the whole sequence gives.
using OrionNative.Kernels.Cpu;

namespace OrionNative.Kernels.Tests;

public sealed unsafe class AttentionBitsTests
{
    static readonly AttentionShape _shape = new(Sequences: 2, Tokens: 150, QueryHeads: 6, KeyValueHeads: 2, HeadWidth: 20);

    [Fact]
    public void Forward_AnyThreadCountAndPath_SameBits()
    {
        float[]? first = null;
        foreach ((int threads, VectorPath path) in Settings())
        {
            float[] output = Forward(_shape, _shape.Tokens, threads, path);
            first ??= output;
            Assert.Equal(first, output);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(33)]
    [InlineData(97)]
    public void Forward_ShorterSequence_SameBitsAsTheBeginningOfTheLonger(int tokens)
    {
        AttentionShape one = _shape with { Sequences = 1 };
        float[] whole = Forward(one, one.Tokens, 2, VectorPathChoice.Widest), part = Forward(one, tokens, 2, VectorPathChoice.Widest);
        Assert.Equal(whole[..part.Length], part);
    }

    [Fact]
    public void Cached_TokenByTokenAfterAPrompt_SameBitsAsForward()
    {
        AttentionShape shape = _shape with { Sequences = 1 };
        using NativeMatrix qkv = new(shape.Rows, shape.PackedColumns, 1), output = new(shape.Rows, shape.OutputColumns, 2);
        using NativeMatrix keys = new(200, shape.KeyValueHeads * shape.HeadWidth, 3), values = new(200, shape.KeyValueHeads * shape.HeadWidth, 4);
        using CpuOps ops = new(new ThreadTeam(2), VectorPathChoice.Widest);
        for (int start = 0; start < shape.Tokens;)
        {
            int count = start == 0 ? 40 : 1;
            ops.AttentionCached(
                qkv.View.RowRange(start, count), keys.View, values.View, start, output.View.RowRange(start, count), shape with { Tokens = count });
            start += count;
        }

        Assert.Equal(Forward(shape, shape.Tokens, 1, VectorPathChoice.Widest), output.ToArray());
    }

    [Fact]
    public void Backward_AnyThreadCount_SameBits()
    {
        foreach (VectorPath path in Enum.GetValues<VectorPath>().Where(path => path <= VectorPathChoice.Widest))
        {
            float[] first = Backward(1, path);
            Assert.Equal(first, Backward(2, path));
            Assert.Equal(first, Backward(5, path));
        }
    }

    static float[] Forward(AttentionShape shape, int tokens, int threads, VectorPath path)
    {
        using NativeMatrix qkv = new(shape.Rows, shape.PackedColumns, 1, gap: 7), output = new(shape.Rows, shape.OutputColumns, 2, gap: 3);
        using NativeMatrix logSumExp = new(shape.Sequences * shape.QueryHeads, tokens, 3);
        using CpuOps ops = new(new ThreadTeam(threads), path);
        int rows = shape.Sequences * tokens;
        ops.AttentionForward(qkv.View.RowRange(0, rows), output.View.RowRange(0, rows), logSumExp.View, shape with { Tokens = tokens });
        output.AssertGapsUntouched();
        return output.ToArray()[..(rows * shape.OutputColumns)];
    }

    static float[] Backward(int threads, VectorPath path)
    {
        using NativeMatrix qkv = new(_shape.Rows, _shape.PackedColumns, 1), output = new(_shape.Rows, _shape.OutputColumns, 2);
        using NativeMatrix logSumExp = new(_shape.Sequences * _shape.QueryHeads, _shape.Tokens, 3);
        using NativeMatrix gradOutput = new(_shape.Rows, _shape.OutputColumns, 4), gradQkv = new(_shape.Rows, _shape.PackedColumns, 5, gap: 3);
        using CpuOps ops = new(new ThreadTeam(threads), path);
        using NativeMatrix scratch = new(1, checked((int)(ops.AttentionBackwardBytes(_shape) / sizeof(float))), 6);
        ops.AttentionForward(qkv.View, output.View, logSumExp.View, _shape);
        gradQkv.Fill(float.NaN);
        ops.AttentionBackward(qkv.View, output.View, gradOutput.View, logSumExp.View, gradQkv.View, scratch.View.Address, _shape, default, 0);
        gradQkv.AssertGapsUntouched();
        float[] grad = gradQkv.ToArray();
        Assert.DoesNotContain(grad, float.IsNaN);
        return grad;
    }

    static IEnumerable<(int Threads, VectorPath Path)> Settings() =>
        from path in Enum.GetValues<VectorPath>()
        where path <= VectorPathChoice.Widest
        from threads in new[] { 1, 2, 5 }
        select (threads, path);
}
