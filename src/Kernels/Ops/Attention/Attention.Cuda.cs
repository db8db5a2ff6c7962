// Attention on CUDA: tiles of 64 queries or keys; see attention.cu for tiles and orders. Backward's scratch holds delta, the row sums
// of do*o, [B*H, T] fp32. Generation splits the keys of a long context into spans until the blocks fill the card twice.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string AttentionSource = "attention.cu";
    const int AttentionRows = 64;
    const int AttentionThreads = 128;

    /// <summary>The kernels of one head width.</summary>
    sealed record AttentionKernels(CudaKernel Forward, CudaKernel Delta, CudaKernel GradientKv, CudaKernel GradientQ, int OtherRows);

    const string CachedSource = "attention_cached.cu";
    const int SpanKeys = 256;

    CudaKernel? _attentionCached, _attentionCachedMerge;
    AttentionKernels? _attention32, _attention64, _attention128;

    /// <inheritdoc cref="IOps.AttentionForward"/>
    public void AttentionForward(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        CheckAttention(qkv, output, logSumExp, shape);
        AttentionKernels kernels = KernelsOf(shape);
        kernels.Forward.Launch(
            _stream, new(DivideUp(shape.Tokens, AttentionRows), shape.QueryHeads, shape.Sequences), AttentionThreads, SharedBytes(3 * AttentionRows, shape),
            qkv, output, logSumExp, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
    }

    /// <inheritdoc cref="IOps.AttentionBackwardBytes"/>
    public long AttentionBackwardBytes(AttentionShape shape) => sizeof(float) * (long)shape.Rows * shape.QueryHeads;

    /// <inheritdoc cref="IOps.AttentionBackward"/>
    public void AttentionBackward(Tensor qkv, Tensor output, Tensor gradOutput, Tensor logSumExp, Tensor gradQkv, nint scratch, AttentionShape shape)
    {
        CheckAttention(qkv, output, logSumExp, shape);
        Shape.Is(gradOutput, ElementType.BFloat16, shape.Rows, shape.OutputColumns);
        Shape.Is(gradQkv, ElementType.BFloat16, shape.Rows, shape.PackedColumns);
        Shape.Holds(gradOutput.IsContiguous && gradQkv.IsContiguous, "rows without gaps", gradQkv);
        ArgumentOutOfRangeException.ThrowIfZero(scratch);
        AttentionKernels kernels = KernelsOf(shape);
        int blocks = DivideUp(shape.Tokens, AttentionRows), sharedBytes = SharedBytes((2 * AttentionRows) + (2 * kernels.OtherRows), shape);
        kernels.Delta.Launch(
            _stream, DivideUp((long)shape.Rows * shape.QueryHeads, AttentionThreads / 32), AttentionThreads, 0,
            output, gradOutput, scratch, shape.Tokens, shape.QueryHeads, shape.Rows);
        kernels.GradientKv.Launch(
            _stream, new(blocks, shape.KeyValueHeads, shape.Sequences), AttentionThreads, sharedBytes,
            qkv, gradOutput, logSumExp, scratch, gradQkv, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
        kernels.GradientQ.Launch(
            _stream, new(blocks, shape.QueryHeads, shape.Sequences), AttentionThreads, sharedBytes,
            qkv, gradOutput, logSumExp, scratch, gradQkv, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
    }

    /// <inheritdoc cref="IOps.AttentionCached"/>
    public void AttentionCached(Tensor qkv, Tensor keys, Tensor values, int start, Tensor output, AttentionShape shape)
    {
        int heads = shape.QueryHeads, columns = shape.KeyValueHeads * shape.HeadWidth, queryColumns = heads * shape.HeadWidth;
        Shape.Is(qkv, ElementType.BFloat16, shape.Rows, shape.PackedColumns);
        Shape.Is(output, ElementType.BFloat16, shape.Rows, shape.OutputColumns);
        Shape.Is(keys, ElementType.BFloat16, keys.Rows, columns);
        Shape.Is(values, ElementType.BFloat16, keys.Rows, columns);
        Shape.Holds(shape.Sequences == 1 && start >= 0 && start + shape.Rows <= keys.Rows, "room for one sequence's tokens in the cache", keys);
        RequireChunks(qkv);
        Copy(qkv.ColumnRange(queryColumns, columns), keys.RowRange(start, shape.Rows));
        Copy(qkv.ColumnRange(queryColumns + columns, columns), values.RowRange(start, shape.Rows));

        int fills = DivideUp(2 * _context.Multiprocessors, (long)shape.Rows * heads);
        int spans = Math.Clamp(DivideUp(start + shape.Rows, SpanKeys), 1, Math.Max(1, fills));
        nint partial = Workspace((long)sizeof(float) * shape.Rows * heads * spans * (shape.HeadWidth + 2));
        _attentionCached ??= Kernel(CachedSource, "attention_cached");
        _attentionCached.Launch(
            _stream, new(shape.Rows, heads, spans), Threads, 0,
            qkv, qkv.Stride, keys, keys.Stride, values, values.Stride, output, output.Stride, partial, start, heads, shape.KeyValueHeads, shape.HeadWidth);
        if (spans > 1)
        {
            _attentionCachedMerge ??= Kernel(CachedSource, "attention_cached_merge");
            _attentionCachedMerge.Launch(
                _stream, new(shape.Rows, heads, 1), Math.Max(32, shape.HeadWidth), 0, partial, output, output.Stride, spans, shape.HeadWidth);
        }
    }

    static void CheckAttention(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        Shape.Is(qkv, ElementType.BFloat16, shape.Rows, shape.PackedColumns);
        Shape.Is(output, ElementType.BFloat16, shape.Rows, shape.OutputColumns);
        Shape.Is(logSumExp, ElementType.Float32, shape.Sequences * shape.QueryHeads, shape.Tokens);
        Shape.Holds(qkv.IsContiguous && output.IsContiguous && logSumExp.IsContiguous, "rows without gaps", qkv);
    }

    static int SharedBytes(int tileRows, AttentionShape shape) => tileRows * shape.HeadWidth * 2;

    AttentionKernels KernelsOf(AttentionShape shape) => shape.HeadWidth switch
    {
        32 => _attention32 ??= LoadAttention(32, 64),
        64 => _attention64 ??= LoadAttention(64, 64),
        128 => _attention128 ??= LoadAttention(128, 32),
        _ => throw new ArgumentException($"attention on CUDA has heads of 32, 64 or 128, not {shape.HeadWidth}"),
    };

    AttentionKernels LoadAttention(int width, int otherRows)
    {
        CudaKernel Load(string name, int tileRows)
        {
            CudaKernel kernel = Kernel(AttentionSource, $"attention_{name}_d{width}");
            if (tileRows > 0)
            {
                kernel.AllowDynamicShared(tileRows * width * 2);
            }

            return kernel;
        }

        int backwardRows = (2 * AttentionRows) + (2 * otherRows);
        return new(Load("forward", 3 * AttentionRows), Load("delta", 0), Load("gradient_kv", backwardRows), Load("gradient_q", backwardRows), otherRows);
    }
}
