// Cases of attention.cu, over lengths that fill no tile, one tile and several, and up to three spans of ds, and head groups of 1, 2 and 3; gradients as they are and
// turned back from a start beyond 0. Backward starts from the exact forward, rounded as it is stored: its own error is seen alone.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> AttentionCases => new(
        from width in (int[])[32, 64, 128]
        from kernel in (string[])["forward", "delta", "gradient_kv", "gradient_q"]
        select new KeyValuePair<string, Action<KernelCase>>($"attention_{kernel}_d{width}", c => Attention(c, kernel, width)))
    {
        ["attention_cached"] = AttentionCached,
        ["attention_cached_merge"] = AttentionCachedMerge,
    };

    static void Attention(KernelCase c, string name, int width)
    {
        const double Base = 500_000;
        (AttentionShape shape, int start) = c.Pick(
            (new AttentionShape(1, 4 * c.Size, 16, 16, width), 0),
            (new(1, 1, 1, 1, width), 0), (new(2, 17, 2, 1, width), 7), (new(1, 64, 1, 1, width), -1), (new(1, 130, 3, 1, width), -1), (new(2, 161, 2, 2, width), 3), (new(1, 380, 1, 1, width), 1));
        bool backward = name.StartsWith("gradient", StringComparison.Ordinal), turned = start >= 0 && backward;
        (int tokens, int heads, int keyHeads) = (shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
        c.Shape = turned ? $"{Named(shape)} turned back from {start}" : Named(shape);
        ushort[] qkv = Random(1, shape.Rows * shape.PackedColumns, c.Size > 0 ? 1 : 2), gradient = Random(2, shape.Rows * shape.OutputColumns);
        AttentionBounds? exact = c.Size > 0 ? null : new(shape, qkv, gradient, turned ? Base : 0, start);
        float[] statistics = exact is null ? new float[shape.Rows * heads] : Array.ConvertAll(exact.LogSumExp, l => (float)l);
        float[] means = exact is null ? statistics : Array.ConvertAll(exact.Delta, d => (float)d);
        ushort[] before = Random(3, qkv.Length);
        CaseView<ushort> gradQkv = c.View(before, shape.PackedColumns, shape.PackedColumns, 0);
        var (packed, output, dOutput) = (c.Upload(qkv), c.Upload(exact?.StoredOutput ?? gradient), c.Upload(gradient));
        var (logSumExp, delta) = (c.Upload(statistics), c.Upload(means));
        ulong angles = turned ? c.Upload(RotaryAngles(start + tokens, width, Base)).Address + (ulong)(sizeof(float) * start * width) : 0;
        CudaKernel kernel = c.Kernel("attention.cu", $"attention_{name}_d{width}");
        AttentionTiles tiles = name switch
        {
            "forward" => AttentionTiles.Forward(width),
            "gradient_kv" => AttentionTiles.GradientKv(width),
            "gradient_q" => AttentionTiles.GradientQ(width),
            _ => default,
        };
        kernel.AllowDynamicShared(tiles.SharedBytes);
        int groups = shape.Sequences * keyHeads, ofGroup = heads / keyHeads;
        LaunchSize grid = name switch
        {
            "forward" => tiles.Grid(shape, heads),
            "delta" => AttentionTiles.DeltaBlocks(shape),
            _ => tiles.Blocks(tokens, name == "gradient_kv" ? groups : groups * ofGroup),
        };
        const int Threads = AttentionTiles.Threads;
        int sharedBytes = tiles.SharedBytes;
        long dsBytes = backward ? groups * AttentionScratch.Of(shape).GroupBytes : 0;
        ulong ds = backward ? c.Allocate<uint>(dsBytes / sizeof(uint)).Address : 0;
        if (name == "gradient_q")
        {
            // What it starts from is what the other kernel leaves, whose gradients go elsewhere.
            AttentionTiles keys = AttentionTiles.GradientKv(width);
            CudaKernel first = c.Kernel("attention.cu", $"attention_gradient_kv_d{width}");
            first.AllowDynamicShared(keys.SharedBytes);
            first.Launch(c.Stream, keys.Blocks(tokens, groups), Threads, keys.SharedBytes, packed.Address, dOutput.Address, logSumExp.Address, delta.Address, 0UL,
                c.Allocate<ushort>(qkv.Length).Address, ds, tokens, heads, keyHeads, 0);
        }

        c.LaunchWith(name switch
        {
            "forward" => () => kernel.Launch(c.Stream, grid, Threads, sharedBytes, packed.Address, output.Address, logSumExp.Address, tokens, heads, keyHeads),
            "delta" => () => kernel.Launch(c.Stream, grid, Threads, sharedBytes, output.Address, dOutput.Address, delta.Address, tokens, heads, shape.Rows),
            "gradient_kv" => () => kernel.Launch(c.Stream, grid, Threads, sharedBytes, packed.Address, dOutput.Address, logSumExp.Address, delta.Address, angles, gradQkv.Address, ds, tokens, heads, keyHeads, 0),
            _ => () => kernel.Launch(c.Stream, grid, Threads, sharedBytes, packed.Address, ds, angles, gradQkv.Address, tokens, heads, keyHeads, 0),
        });
        long element = 2L * shape.Rows;
        double product = (double)shape.Sequences * heads * tokens * tokens * width;
        (c.Bytes, c.Flops) = name switch
        {
            "forward" => (element * (shape.PackedColumns + shape.OutputColumns), 2 * product),
            "delta" => ((2 * element * shape.OutputColumns) + (4L * heads * shape.Rows), 2.0 * shape.Rows * shape.OutputColumns),
            "gradient_kv" => ((element * (shape.PackedColumns + shape.OutputColumns + (2 * keyHeads * width))) + dsBytes, 4 * product),
            _ => ((element * (keyHeads + heads) * width) + dsBytes, product),
        };

        // Columns of the queries, or of the keys and values, of every packed row.
        double[] Part(double[] rows, bool queries) => [.. rows.Where((_, i) => i % shape.PackedColumns < heads * width == queries)];
        KernelResult Gradient(bool queries) => new("gradient", () => Part(Widen(gradQkv.Read()), queries), Part(exact!.GradQkv, queries), Part(exact.GradQkvError, queries));
        KernelResult Others(bool queries) => new("the other columns", () => Part(Widen(gradQkv.Read()), queries), Part(Widen(before), queries));
        c.Results = () => name switch
        {
            "forward" =>
            [
                new("output", () => KernelCase.Widen(output), exact!.Output, exact.OutputError),
                new("logsumexp", () => KernelCase.Widen(logSumExp), exact.LogSumExp, 4 * Single, (tokens + (4 * width)) * Single),
            ],
            // Products of bf16 are exact in fp32; their sum of D terms is off by D roundings of its size, at most D here.
            "delta" => [new("delta", () => KernelCase.Widen(delta), exact!.Delta, 0, width * Single * width)],
            "gradient_kv" => [Gradient(queries: false), Others(queries: true)],
            _ => [Gradient(queries: true), Others(queries: false)],
        };
    }

    static void AttentionCached(KernelCase c)
    {
        // Shape of the whole sequence, how many of its tokens are new, spans.
        (AttentionShape shape, int added, int spans) = c.Pick(
            (new AttentionShape(1, 32 * c.Size, 32, 8, 128), 1, 32),
            (new(1, 1, 1, 1, 8), 1, 1), (new(1, 7, 3, 1, 16), 3, 1), (new(1, 33, 2, 1, 64), 1, 1), (new(1, 70, 4, 2, 128), 2, 3), (new(1, 40, 2, 2, 32), 5, 64), (new(1, 9, 1, 1, 256), 2, 1));
        int start = shape.Tokens - added, width = shape.HeadWidth, heads = shape.QueryHeads, cached = shape.KeyValueHeads * width;
        c.Shape = $"{Named(shape)} new {added} spans {spans}";
        ushort[] rows = Random(1, shape.Rows * shape.PackedColumns, c.Size > 0 ? 1 : 2);
        ushort[] Columns(int from, int count, int first) => [.. Enumerable.Range(first, shape.Tokens - first).SelectMany(t => rows.AsSpan((t * shape.PackedColumns) + from, count).ToArray())];
        CaseView<ushort> qkv = c.View(Columns(0, shape.PackedColumns, start), shape.PackedColumns, shape.PackedColumns + 8, 0);
        var (keys, values) = (c.View(Columns(heads * width, cached, 0), cached, cached, 0), c.View(Columns((heads * width) + cached, cached, 0), cached, cached + 16, 8));
        CaseView<ushort> output = c.View(new ushort[added * shape.OutputColumns], shape.OutputColumns, shape.OutputColumns + 1, 0);
        CudaDeviceVariable<float> partial = c.Allocate<float>((long)added * heads * spans * (width + 2));
        CudaKernel kernel = c.Kernel("attention_cached.cu", "attention_cached"), merge = c.Kernel("attention_cached.cu", "attention_cached_merge");
        c.LaunchWith(() =>
        {
            kernel.Launch(c.Stream, new(added, heads, spans), 256, 0, qkv.Address, qkv.Stride, keys.Address, keys.Stride, values.Address, values.Stride,
                output.Address, output.Stride, partial.Address, start, heads, shape.KeyValueHeads, width);
            if (spans > 1)
            {
                merge.Launch(c.Stream, new(added, heads, 1), Math.Max(32, width), 0, partial.Address, output.Address, output.Stride, spans, width);
            }
        });
        c.Bytes = 4L * added * shape.Tokens * cached;
        c.Flops = 4.0 * added * heads * shape.Tokens * width;
        c.Results = () =>
        {
            double[] expected = Oracle.AttentionForward(Widen(rows), shape).Output[(start * shape.OutputColumns)..];
            // p stays in fp32; values are below 2. The exponent's argument is a sum of D products, at most 4*sqrt(D).
            double singles = 2 * (shape.Tokens + (16 * width)) * Single;
            return [new("output", () => Widen(output.Read()), expected, Rounding, singles), output.Untouched("output")];
        };
    }

    static void AttentionCachedMerge(KernelCase c)
    {
        (int rows, int heads, int spans, int width) = c.Pick((1, 32, 64, 128), (1, 1, 1, 8), (2, 3, 5, 64), (1, 2, 33, 128));
        c.Shape = $"N={rows} H={heads} spans {spans} D={width}";
        float[] parts = RandomFloats(1, rows * heads * spans * (width + 2));
        for (int i = 0; i < rows * heads * spans; i++)
        {
            // A span without keys says so; the others have seen one key or more.
            (parts[i * (width + 2)], parts[(i * (width + 2)) + 1]) = i % 5 == 4 ? (-3.0e38f, 0) : (20 * parts[i * (width + 2)], 1 + Math.Abs(parts[(i * (width + 2)) + 1]));
        }

        var (partial, output) = (c.Upload(parts), c.Allocate<ushort>((long)rows * heads * width));
        CudaKernel kernel = c.Kernel("attention_cached.cu", "attention_cached_merge");
        c.LaunchWith(() => kernel.Launch(c.Stream, new(rows, heads, 1), Math.Max(32, width), 0, partial.Address, output.Address, heads * width, spans, width));
        c.Bytes = (4L * parts.Length) + (2L * rows * heads * width);
        c.Flops = 3.0 * rows * heads * spans * width;
        c.Results = () =>
        {
            double[] expected = new double[rows * heads * width];
            for (int i = 0; i < expected.Length; i++)
            {
                int first = i / width * spans;
                double Part(int s, int at) => parts[((first + s) * (width + 2)) + at];
                double top = Enumerable.Range(0, spans).Max(s => Part(s, 0));
                double[] weights = [.. Enumerable.Range(0, spans).Select(s => Math.Pow(2, Part(s, 0) - top))];
                // A span without keys weighs nothing, whatever its numbers say.
                expected[i] = weights.Select((w, s) => w * Part(s, 2 + (i % width))).Sum() / weights.Select((w, s) => w * Part(s, 1)).Sum();
            }

            return [new("output", () => KernelCase.Widen(output), expected, Rounding, 8 * spans * 20 * Single)];
        };
    }
}
