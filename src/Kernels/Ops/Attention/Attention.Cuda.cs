// Attention on CUDA; see attention.cu for tiles and orders. Backward's scratch holds delta, the row sums of do*o, [B*H, T] fp32. Generation splits the keys of a long context into spans until the blocks fill the card twice.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string AttentionSource = "attention.cu";

    /// <summary>The kernels of one head width.</summary>
    sealed record AttentionKernels(CudaKernel Forward, CudaKernel Delta, CudaKernel GradientKv, CudaKernel GradientQ);

    const string CachedSource = "attention_cached.cu";
    const int SpanKeys = 256;

    CudaKernel? _attentionCached, _attentionCachedMerge;
    AttentionKernels? _attention32, _attention64, _attention128;

    /// <inheritdoc cref="IOps.AttentionForward"/>
    public void AttentionForward(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        CheckAttention(qkv, output, logSumExp, shape);
        AttentionTiles tiles = AttentionTiles.Forward(shape.HeadWidth);
        KernelsOf(shape).Forward.Launch(
            _stream, tiles.Grid(shape, shape.QueryHeads), AttentionTiles.Threads, tiles.SharedBytes, qkv, output, logSumExp, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
    }

    /// <inheritdoc cref="IOps.AttentionBackwardBytes"/>
    public long AttentionBackwardBytes(AttentionShape shape) => sizeof(float) * (long)shape.Rows * shape.QueryHeads;

    /// <inheritdoc cref="IOps.AttentionBackward"/>
    public void AttentionBackward(
        Tensor qkv, Tensor output, Tensor gradOutput, Tensor logSumExp, Tensor gradQkv, nint scratch, AttentionShape shape, Tensor angles, int startPosition)
    {
        CheckAttention(qkv, output, logSumExp, shape);
        Shape.Is(gradOutput, ElementType.BFloat16, shape.Rows, shape.OutputColumns);
        Shape.Is(gradQkv, ElementType.BFloat16, shape.Rows, shape.PackedColumns);
        Shape.Holds(gradOutput.IsContiguous && gradQkv.IsContiguous, "rows without gaps", gradQkv);
        ArgumentOutOfRangeException.ThrowIfZero(scratch);
        nint anglesOfFirst = 0;
        if (!angles.IsEmpty)
        {
            CheckAngles(angles, shape, startPosition);
            anglesOfFirst = angles.RowRange(startPosition, shape.Tokens).Address;
        }

        AttentionKernels kernels = KernelsOf(shape);
        AttentionTiles keys = AttentionTiles.GradientKv(shape.HeadWidth), queries = AttentionTiles.GradientQ(shape.HeadWidth);
        kernels.Delta.Launch(
            _stream, AttentionTiles.DeltaBlocks(shape), AttentionTiles.Threads, 0, output, gradOutput, scratch, shape.Tokens, shape.QueryHeads, shape.Rows);
        kernels.GradientKv.Launch(
            _stream, keys.Grid(shape, shape.KeyValueHeads), AttentionTiles.Threads, keys.SharedBytes,
            qkv, gradOutput, logSumExp, scratch, anglesOfFirst, gradQkv, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
        kernels.GradientQ.Launch(
            _stream, queries.Grid(shape, shape.QueryHeads), AttentionTiles.Threads, queries.SharedBytes,
            qkv, gradOutput, logSumExp, scratch, anglesOfFirst, gradQkv, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
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

    AttentionKernels KernelsOf(AttentionShape shape) => shape.HeadWidth switch
    {
        32 => _attention32 ??= LoadAttention(32),
        64 => _attention64 ??= LoadAttention(64),
        128 => _attention128 ??= LoadAttention(128),
        _ => throw new ArgumentException($"attention on CUDA has heads of 32, 64 or 128, not {shape.HeadWidth}"),
    };

    AttentionKernels LoadAttention(int width)
    {
        CudaKernel Load(string name, int sharedBytes)
        {
            CudaKernel kernel = Kernel(AttentionSource, $"attention_{name}_d{width}");
            if (sharedBytes > 0)
            {
                kernel.AllowDynamicShared(sharedBytes);
            }

            return kernel;
        }

        return new(
            Load("forward", AttentionTiles.Forward(width).SharedBytes), Load("delta", 0),
            Load("gradient_kv", AttentionTiles.GradientKv(width).SharedBytes), Load("gradient_q", AttentionTiles.GradientQ(width).SharedBytes));
    }
}

/// <summary>What a block of an attention kernel holds in shared memory, as attention.cu has it.</summary>
/// <param name="Rows">Queries or keys that a block owns.</param>
/// <param name="TileRows">Rows of all its tiles.</param>
/// <param name="Width">Head width.</param>
readonly record struct AttentionTiles(int Rows, int TileRows, int Width)
{
    public const int Threads = 128;

    public int SharedBytes => TileRows * Width * 2;

    /// <summary>Queries, and a step of 64 keys and values.</summary>
    public static AttentionTiles Forward(int width) => new(128, 128 + (2 * 64), width);

    /// <summary>Keys and values, and two steps of queries and gradients.</summary>
    public static AttentionTiles GradientKv(int width)
    {
        int rows = width == 128 ? 64 : 128;
        return new(rows, (2 * rows) + (4 * 32), width);
    }

    /// <summary>Queries and gradients, and two steps of keys and values.</summary>
    public static AttentionTiles GradientQ(int width) => new(128, (2 * 128) + (4 * (width == 128 ? 16 : 32)), width);

    public static int DeltaBlocks(AttentionShape shape) => (int)((((long)shape.Rows * shape.QueryHeads * shape.HeadWidth / 8) + Threads - 1) / Threads);

    public LaunchSize Grid(AttentionShape shape, int heads) => new((shape.Tokens + Rows - 1) / Rows, heads, shape.Sequences);
}
