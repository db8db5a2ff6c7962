// Cases of attention.cu, over lengths that fill no tile, one tile and several, and head groups of 1, 2 and 3. Backward starts from
// the exact forward, rounded as it is stored, so that its own error is seen alone.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> AttentionCases => new(
        from width in (int[])[32, 64, 128]
        from kernel in (string[])["forward", "delta", "gradient_kv", "gradient_q"]
        select new KeyValuePair<string, Action<KernelCase>>($"attention_{kernel}_d{width}", c => Attention(c, kernel, width)));

    static void Attention(KernelCase c, string name, int width)
    {
        const int Rows = 64, Threads = 128;
        AttentionShape shape = c.Pick(new AttentionShape(1, 4 * c.Size, 16, 16, width), new(1, 1, 1, 1, width), new(2, 17, 2, 1, width), new(1, 64, 1, 1, width), new(1, 130, 3, 1, width));
        (int tokens, int heads, int keyHeads) = (shape.Tokens, shape.QueryHeads, shape.KeyValueHeads);
        c.Shape = Named(shape);
        ushort[] qkv = Random(1, shape.Rows * shape.PackedColumns, c.Size > 0 ? 1 : 2), gradient = Random(2, shape.Rows * shape.OutputColumns);
        AttentionBounds? exact = c.Size > 0 ? null : new(shape, qkv, gradient);
        float[] statistics = exact is null ? new float[shape.Rows * heads] : Array.ConvertAll(exact.LogSumExp, l => (float)l);
        float[] means = exact is null ? statistics : Array.ConvertAll(exact.Delta, d => (float)d);
        ushort[] before = Random(3, qkv.Length);
        CaseView<ushort> gradQkv = c.View(before, shape.PackedColumns, shape.PackedColumns, 0);
        var (packed, output, dOutput) = (c.Upload(qkv), c.Upload(exact?.StoredOutput ?? gradient), c.Upload(gradient));
        var (logSumExp, delta) = (c.Upload(statistics), c.Upload(means));
        CudaKernel kernel = c.Kernel("attention.cu", $"attention_{name}_d{width}");
        int blocks = (tokens + Rows - 1) / Rows, other = width == 128 ? 32 : Rows;
        int sharedBytes = name switch { "forward" => 3 * Rows, "delta" => 0, _ => 2 * (Rows + other) } * width * 2;
        kernel.AllowDynamicShared(sharedBytes);
        LaunchSize grid = name switch
        {
            "delta" => ((shape.Rows * heads) + 3) / 4,
            "gradient_kv" => new LaunchSize(blocks, keyHeads, shape.Sequences),
            _ => new LaunchSize(blocks, heads, shape.Sequences),
        };
        c.LaunchWith(name switch
        {
            "forward" => () => kernel.Launch(c.Stream, grid, Threads, sharedBytes, packed.Address, output.Address, logSumExp.Address, tokens, heads, keyHeads),
            "delta" => () => kernel.Launch(c.Stream, grid, Threads, sharedBytes, output.Address, dOutput.Address, delta.Address, tokens, heads, shape.Rows),
            _ => () => kernel.Launch(c.Stream, grid, Threads, sharedBytes, packed.Address, dOutput.Address, logSumExp.Address, delta.Address, gradQkv.Address, tokens, heads, keyHeads),
        });
        long element = 2L * shape.Rows;
        double product = (double)shape.Sequences * heads * tokens * tokens * width;
        (c.Bytes, c.Flops) = name switch
        {
            "forward" => (element * (shape.PackedColumns + shape.OutputColumns), 2 * product),
            "delta" => ((2 * element * shape.OutputColumns) + (4L * heads * shape.Rows), 0),
            "gradient_kv" => (element * (shape.PackedColumns + shape.OutputColumns + (2 * keyHeads * width)), 4 * product),
            _ => (element * (shape.PackedColumns + shape.OutputColumns + (heads * width)), 3 * product),
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
}
