// Causal grouped-query attention on the CPU: checks, and what is cut into items. The tiles of the matrix product do the
// arithmetic on blocks that stay in the second-level cache; the two directions are in AttentionForward.Cpu.cs and
// AttentionBackward.Cpu.cs. Invariant: keys are visited in blocks that start at multiples of a constant, so the bits of a query's
// output depend on its own row and the rows before it, not on threads, vector width, or how many tokens come after.
using OrionNative.Kernels.Cpu.Gemm;

namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    readonly MicrokernelSet _tiles = new(path);

    /// <inheritdoc/>
    public void AttentionForward(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        Check(qkv, output, logSumExp, shape);
        float* queries = (float*)qkv.Address;
        float* keys = queries + (shape.QueryHeads * shape.HeadWidth);
        AttentionForwardCall call = new()
        {
            Shape = shape,
            Queries = queries,
            Keys = keys,
            Values = keys + (shape.KeyValueHeads * shape.HeadWidth),
            QueryStride = qkv.Stride,
            KeyStride = qkv.Stride,
            ValueStride = qkv.Stride,
            Output = (float*)output.Address,
            OutputStride = output.Stride,
            LogSumExp = (float*)logSumExp.Address,
            LogSumExpStride = logSumExp.Stride,
            Sequences = shape.Sequences,
            QueryCount = shape.Tokens,
        };
        RunForward(ref call);
    }

    /// <inheritdoc/>
    public void AttentionCached(Tensor qkv, Tensor keys, Tensor values, int start, Tensor output, AttentionShape shape)
    {
        int columns = shape.KeyValueHeads * shape.HeadWidth;
        Check(qkv, output, qkv.Rows, shape);
        Shape.Is(keys, ElementType.Float32, keys.Rows, columns);
        Shape.Is(values, ElementType.Float32, keys.Rows, columns);
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        if (start + qkv.Rows > keys.Rows)
        {
            throw new ArgumentException($"AttentionCached: the cache has room for {keys.Rows} tokens; {qkv.Rows} tokens from {start} do not fit");
        }

        Tensor newKeys = qkv.ColumnRange(shape.QueryHeads * shape.HeadWidth, columns);
        Copy(newKeys, keys.RowRange(start, qkv.Rows));
        Copy(qkv.ColumnRange((shape.QueryHeads * shape.HeadWidth) + columns, columns), values.RowRange(start, qkv.Rows));
        AttentionForwardCall call = new()
        {
            Shape = shape,
            Queries = (float*)qkv.Address,
            Keys = (float*)keys.Address,
            Values = (float*)values.Address,
            QueryStride = qkv.Stride,
            KeyStride = keys.Stride,
            ValueStride = values.Stride,
            Output = (float*)output.Address,
            OutputStride = output.Stride,
            Sequences = 1,
            QueryCount = qkv.Rows,
            Start = start,
        };
        RunForward(ref call);
    }

    /// <inheritdoc/>
    public long AttentionBackwardBytes(AttentionShape shape) =>
        sizeof(float) * (((long)shape.Rows * shape.QueryHeads) + (_team.Count * BackwardScratch.Floats(_tiles, shape.HeadWidth)));

    /// <inheritdoc/>
    public void AttentionBackward(
        Tensor qkv, Tensor output, Tensor gradOutput, Tensor logSumExp, Tensor gradQkv, nint scratch, AttentionShape shape, Tensor angles, int startPosition)
    {
        Check(qkv, output, logSumExp, shape);
        Shape.Is(gradOutput, ElementType.Float32, shape.Rows, shape.OutputColumns);
        Shape.Is(gradQkv, ElementType.Float32, shape.Rows, shape.PackedColumns);
        ArgumentOutOfRangeException.ThrowIfZero(scratch);
        AttentionBackwardCall call = new()
        {
            Shape = shape,
            Qkv = (float*)qkv.Address,
            QkvStride = qkv.Stride,
            Output = (float*)output.Address,
            OutputStride = output.Stride,
            GradOutput = (float*)gradOutput.Address,
            GradOutputStride = gradOutput.Stride,
            LogSumExp = (float*)logSumExp.Address,
            LogSumExpStride = logSumExp.Stride,
            Grad = (float*)gradQkv.Address,
            GradStride = gradQkv.Stride,
            Delta = (float*)scratch,
            Scratch = (float*)scratch + ((long)shape.Rows * shape.QueryHeads),
            ScratchFloats = BackwardScratch.Floats(_tiles, shape.HeadWidth),
            Scale = 1 / MathF.Sqrt(shape.HeadWidth),
            Tiles = _tiles,
        };
        RunMembers(shape.Sequences * shape.KeyValueHeads, &call, &BackwardItem<Vec128>, &BackwardItem<Vec256>, &BackwardItem<Vec512>);
        if (!angles.IsEmpty)
        {
            Rotary(gradQkv, angles, shape, startPosition, inverse: true);
        }
    }

    static void Check(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        Check(qkv, output, shape.Rows, shape);
        Shape.Is(logSumExp, ElementType.Float32, shape.Sequences * shape.QueryHeads, shape.Tokens);
    }

    static void Check(Tensor qkv, Tensor output, int rows, AttentionShape shape)
    {
        Shape.Is(qkv, ElementType.Float32, rows, shape.PackedColumns);
        Shape.Is(output, ElementType.Float32, rows, shape.OutputColumns);
        if (shape.KeyValueHeads <= 0 || shape.QueryHeads % shape.KeyValueHeads != 0)
        {
            throw new ArgumentException($"attention: {shape.QueryHeads} query heads are not a multiple of {shape.KeyValueHeads} key-value heads");
        }
    }

    void RunMembers(int items, void* state, delegate*<void*, int, int, void> narrow, delegate*<void*, int, int, void> middle, delegate*<void*, int, int, void> wide) =>
        _team.Run(items, state, _path switch
        {
            VectorPath.Vector512 => wide,
            VectorPath.Vector256 => middle,
            _ => narrow,
        });
}
