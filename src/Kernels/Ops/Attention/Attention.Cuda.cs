// Attention on CUDA; see attention.cu for tiles and orders. Backward's scratch holds delta, the row sums of do*o, [B*H, T] fp32, and
// the ds that one kernel leaves to the other, for as many groups of heads at once as AttentionScratch allows.
// Generation splits the keys of a long context into spans until the blocks fill the card twice.
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

    /// <inheritdoc cref="IScratchSizes.AttentionBackwardBytes"/>
    public long AttentionBackwardBytes(AttentionShape shape) => AttentionScratch.Of(shape).Bytes;

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
        AttentionScratch parts = AttentionScratch.Of(shape);
        int groups = shape.Sequences * shape.KeyValueHeads, heads = shape.QueryHeads / shape.KeyValueHeads;
        for (int first = 0; first < groups; first += parts.GroupsAtOnce)
        {
            int count = Math.Min(parts.GroupsAtOnce, groups - first);
            kernels.GradientKv.Launch(
                _stream, keys.Blocks(shape.Tokens, count), AttentionTiles.Threads, keys.SharedBytes,
                qkv, gradOutput, logSumExp, scratch, anglesOfFirst, gradQkv, scratch + (nint)parts.DeltaBytes, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads, first);
            kernels.GradientQ.Launch(
                _stream, queries.Blocks(shape.Tokens, count * heads), AttentionTiles.Threads, queries.SharedBytes,
                qkv, scratch + (nint)parts.DeltaBytes, anglesOfFirst, gradQkv, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads, first);
        }
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

/// <summary>What a block of an attention kernel owns and holds in shared memory, as attention.cu has it.</summary>
/// <param name="Rows">Queries or keys that a block owns.</param>
/// <param name="SharedBytes">Dynamic shared memory.</param>
readonly record struct AttentionTiles(int Rows, int SharedBytes)
{
    public const int Threads = 128;
    const int Keys = 64, Queries = 32;

    /// <summary>Queries, and a step of keys and values.</summary>
    public static AttentionTiles Forward(int width) => new(128, (128 + (2 * Keys)) * width * 2);

    /// <summary>Keys and values, two steps of queries and gradients with logsumexp and delta, and p between the warps.</summary>
    public static AttentionTiles GradientKv(int width)
    {
        int rows = width == 128 ? 64 : 128;
        return new(rows, (((2 * rows) + (4 * Queries)) * width * 2) + (4 * Queries * sizeof(float)) + (rows * Queries * sizeof(float)));
    }

    /// <summary>Two steps of keys and of ds.</summary>
    public static AttentionTiles GradientQ(int width) => new(128, 2 * Keys * (width + 128) * 2);

    public static int DeltaBlocks(AttentionShape shape) => (int)((((long)shape.Rows * shape.QueryHeads * shape.HeadWidth / 8) + Threads - 1) / Threads);

    /// <summary>The launch for some heads of all sequences together.</summary>
    public LaunchSize Blocks(int tokens, int heads) => new((tokens + Rows - 1) / Rows, heads, 1);

    public LaunchSize Grid(AttentionShape shape, int heads) => new((shape.Tokens + Rows - 1) / Rows, heads, shape.Sequences);
}

/// <summary>Backward's scratch: delta, then ds of the groups (a key head with its query heads) that share two launches.</summary>
/// <param name="DeltaBytes">Bytes of delta, a multiple of 16.</param>
/// <param name="GroupBytes">Bytes of ds of a group: half of 2*T*T a query head, and the diagonal.</param>
/// <param name="GroupsAtOnce">Groups of a launch: as many as <see cref="Most"/> holds, evenly; at least one.</param>
readonly record struct AttentionScratch(long DeltaBytes, long GroupBytes, int GroupsAtOnce)
{
    /// <summary>2 GiB: few groups at a time leave a card's multiprocessors without work at the end of a launch.</summary>
    public const long Most = 2L << 30;
    const int Span = 128;

    public long Bytes => DeltaBytes + (GroupsAtOnce * GroupBytes);

    public static AttentionScratch Of(AttentionShape shape, long most = Most)
    {
        long spans = (shape.Tokens + Span - 1) / Span, groups = (long)shape.Sequences * shape.KeyValueHeads;
        long group = shape.QueryHeads / shape.KeyValueHeads * (Span * Span * spans * (spans + 1));
        long launches = (groups + Math.Max(1, most / group) - 1) / Math.Max(1, most / group);
        long delta = sizeof(float) * (long)shape.Rows * shape.QueryHeads;
        return new((delta + 15) / 16 * 16, group, (int)((groups + launches - 1) / launches));
    }
}
