// The cases, one a kernel. `size` scales the rows: 1 checks, a few thousands time. Data are random, never zeros: constant operands
// make a card run faster than any training step would.
namespace OrionNative.Kernels.Cuda;

static class KernelCases
{
    const double Rounding = 1.0 / 256;
    const double Single = 1.0 / (1 << 24);
    const float Epsilon = 1e-5f;

    static readonly Dictionary<string, Action<KernelCase, int>> _all = new()
    {
        ["add_rmsnorm_forward"] = AddRmsNormForward,
        ["swiglu_forward"] = SwiGluForward,
        ["swiglu_backward"] = SwiGluBackward,
        ["rotary"] = Rotary,
        ["embedding_forward"] = EmbeddingForward,
        ["adamw"] = AdamW,
        ["attention_forward_d64"] = (c, size) => AttentionForward(c, size, 64),
        ["attention_forward_d128"] = (c, size) => AttentionForward(c, size, 128),
    };

    public static IEnumerable<string> Names => _all.Keys;

    public static KernelCase Make(string name, int size, CudaContext context, CudaRuntimeCompiler compiler, CudaStream stream)
    {
        KernelCase made = new(context, compiler, stream);
        try
        {
            _all[name](made, size);
            return made;
        }
        catch
        {
            made.Dispose();
            throw;
        }
    }

    static void AddRmsNormForward(KernelCase c, int size)
    {
        int rows = 3 * size, columns = size == 1 ? 264 : 4096, threads = Math.Clamp(((columns / 8) + 31) / 32 * 32, 32, 256);
        ushort[] x = Random(1, rows * columns), y = Random(2, rows * columns), w = Random(3, columns);
        var (dx, dy, dw) = (c.Upload(x), c.Upload(y), c.Upload(w));
        var (sum, output, rstd) = (c.Allocate<ushort>(x.Length), c.Allocate<ushort>(x.Length), c.Allocate<float>(rows));
        CudaKernel kernel = c.Kernel("rmsnorm.cu", "add_rmsnorm_forward");
        c.LaunchWith(() => kernel.Launch(c.Stream, rows, threads, 0, dx.Address, dy.Address, dw.Address, sum.Address, output.Address, rstd.Address, columns, Epsilon));
        c.Shape = $"R={rows} C={columns}";
        c.Bytes = (8L * rows * columns) + (4L * rows) + (2L * columns);
        c.Results = () =>
        {
            double[] stored = KernelCase.Widen(sum);
            (double[] expected, double[] scales) = Oracle.RmsNormForward(stored, Widen(w), Epsilon);
            return
            [
                new("sum", () => stored, [.. Widen(x).Zip(Widen(y), (a, b) => a + b)], Rounding, 0),
                new("output", () => KernelCase.Widen(output), expected, Rounding + (2 * columns * Single), 0),
                new("rstd", () => KernelCase.Widen(rstd), scales, columns * Single, 0),
            ];
        };
    }

    static void SwiGluForward(KernelCase c, int size)
    {
        int rows = 3 * size, width = size == 1 ? 136 : 8192;
        ushort[] gateUp = Random(1, 2 * rows * width);
        var (packed, output) = (c.Upload(gateUp), c.Allocate<ushort>((long)rows * width));
        long chunks = (long)rows * width / 8;
        CudaKernel kernel = c.Kernel("swiglu.cu", "swiglu_forward");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(chunks), 256, 0, packed.Address, output.Address, width, chunks));
        c.Shape = $"R={rows} F={width}";
        c.Bytes = 6L * rows * width;
        c.Results = () => [new("output", () => KernelCase.Widen(output), Oracle.SwiGluForward(Widen(gateUp), width), Rounding + (16 * Single), 0)];
    }

    static void SwiGluBackward(KernelCase c, int size)
    {
        int rows = 3 * size, width = size == 1 ? 136 : 8192;
        ushort[] gateUp = Random(1, 2 * rows * width), gradient = Random(2, rows * width);
        var (packed, ds) = (c.Upload(gateUp), c.Upload(gradient));
        long chunks = (long)rows * width / 8;
        CudaKernel kernel = c.Kernel("swiglu.cu", "swiglu_backward");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(chunks), 256, 0, packed.Address, ds.Address, width, chunks));
        c.Shape = $"R={rows} F={width}";
        c.Bytes = 12L * rows * width;
        c.Results = () =>
        [
            new("gradient", () => KernelCase.Widen(packed), Oracle.SwiGluBackward(Widen(gateUp), Widen(gradient), width), Rounding + (16 * Single), 64 * Single),
            new("output", () => KernelCase.Widen(ds), Oracle.SwiGluForward(Widen(gateUp), width), Rounding + (16 * Single), 0),
        ];
    }

    static void Rotary(KernelCase c, int size)
    {
        const double Base = 500_000;
        AttentionShape shape = size == 1 ? new(2, 5, 3, 1, 64) : new(1, 4 * size, 32, 8, 128);
        ushort[] x = Random(1, shape.Rows * shape.PackedColumns);
        float[] table = new float[shape.Tokens * shape.HeadWidth];
        int half = shape.HeadWidth / 2, heads = shape.QueryHeads + shape.KeyValueHeads;
        for (int i = 0; i < shape.Tokens * half; i++)
        {
            (int position, int pair) = (i / half, i % half);
            (double sine, double cosine) = Math.SinCos(position * Math.Pow(Base, -2.0 * pair / shape.HeadWidth));
            (table[(position * shape.HeadWidth) + pair], table[(position * shape.HeadWidth) + half + pair]) = ((float)cosine, (float)sine);
        }

        var (qkv, angles) = (c.Upload(x), c.Upload(table));
        long chunks = (long)shape.Rows * heads * half / 8;
        CudaKernel kernel = c.Kernel("rotary.cu", "rotary");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(chunks), 256, 0,
            qkv.Address, angles.Address, shape.Tokens, heads, shape.PackedColumns, shape.HeadWidth, 0, 1f, chunks));
        c.Shape = $"B={shape.Sequences} T={shape.Tokens} H={shape.QueryHeads} G={shape.KeyValueHeads} D={shape.HeadWidth}";
        c.Bytes = 4L * shape.Rows * heads * shape.HeadWidth;
        c.Results = () =>
        {
            double[] expected = Widen(x);
            Oracle.Rotary(expected, shape, Base, 0, inverse: false);
            return [new("qkv", () => KernelCase.Widen(qkv), expected, Rounding, 4 * Single)];
        };
    }

    static void EmbeddingForward(KernelCase c, int size)
    {
        int rows = 5 * size, columns = size == 1 ? 24 : 4096, vocabulary = size == 1 ? 7 : 32768;
        Random random = new(4);
        int[] tokens = [.. Enumerable.Range(0, rows).Select(_ => random.Next(vocabulary))];
        ushort[] weights = Random(1, vocabulary * columns);
        var (ids, table, output) = (c.Upload(tokens), c.Upload(weights), c.Allocate<ushort>((long)rows * columns));
        CudaKernel kernel = c.Kernel("embedding.cu", "embedding_forward");
        c.LaunchWith(() => kernel.Launch(c.Stream, rows, 256, 0, ids.Address, table.Address, output.Address, columns));
        c.Shape = $"R={rows} C={columns} V={vocabulary}";
        c.Bytes = 4L * rows * columns;
        c.Results = () => [new("output", () => KernelCase.Widen(output), Oracle.EmbeddingForward(tokens, Widen(weights), columns), 0, 0)];
    }

    static void AdamW(KernelCase c, int size)
    {
        int count = 1003 * size;
        AdamWStep step = new(1, 0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.5f);
        Random random = new(5);
        float[] master = [.. Enumerable.Range(0, count).Select(_ => (float)((2 * random.NextDouble()) - 1))];
        float[] gradient = [.. master.Select(_ => (float)((2 * random.NextDouble()) - 1))];
        float[] numbers = [step.LearningRate, step.Beta1, step.Beta2, step.Epsilon, step.WeightDecay, step.GradientScale, (float)(1 / (1 - Math.Pow(step.Beta1, 1))), (float)(1 / (1 - Math.Pow(step.Beta2, 1)))];
        var weight = c.Upload(Array.ConvertAll(master, w => (ushort)(BitConverter.SingleToUInt32Bits(w) >> 16)));
        var low = c.Upload(Array.ConvertAll(master, w => (ushort)BitConverter.SingleToUInt32Bits(w)));
        var (g, m, v) = (c.Upload(gradient), c.Upload(new float[count]), c.Upload(new float[count]));
        var settings = c.Upload<uint>([.. numbers.Select(BitConverter.SingleToUInt32Bits), 1, 0]);
        CudaKernel kernel = c.Kernel("adamw.cu", "adamw");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks((count + 7) / 8), 256, 0, weight.Address, low.Address, g.Address, m.Address, v.Address, settings.Address, (long)count));
        c.Shape = $"n={count}";
        c.Bytes = 28L * count;
        c.Results = () =>
        {
            double[] expected = Array.ConvertAll(master, w => (double)w);
            Oracle.AdamW(expected, Array.ConvertAll(gradient, w => (double)w), new double[count], new double[count], step);
            double[] Master()
            {
                ushort[] high = new ushort[count], words = new ushort[count];
                weight.CopyTo(high);
                low.CopyTo(words);
                return [.. high.Select((h, i) => (double)BitConverter.UInt32BitsToSingle(((uint)h << 16) | words[i]))];
            }

            return [new("master", Master, expected, 4 * Single, 0.01 * 32 * Single)];
        };
    }

    static void AttentionForward(KernelCase c, int size, int width)
    {
        const int Rows = 64;
        AttentionShape shape = size == 1 ? new(1, 100, 2, 1, width) : new(1, 4 * size, 16, 16, width);
        ushort[] x = Random(1, shape.Rows * shape.PackedColumns);
        var (qkv, output, logSumExp) = (c.Upload(x), c.Allocate<ushort>((long)shape.Rows * shape.OutputColumns), c.Allocate<float>((long)shape.QueryHeads * shape.Rows));
        CudaKernel kernel = c.Kernel("attention.cu", $"attention_forward_d{width}");
        int sharedBytes = 3 * Rows * width * 2;
        kernel.AllowDynamicShared(sharedBytes);
        c.LaunchWith(() => kernel.Launch(c.Stream, new((shape.Tokens + Rows - 1) / Rows, shape.QueryHeads, shape.Sequences), 128, sharedBytes,
            qkv.Address, output.Address, logSumExp.Address, shape.Tokens, shape.QueryHeads, shape.KeyValueHeads));
        c.Shape = $"B={shape.Sequences} T={shape.Tokens} H={shape.QueryHeads} G={shape.KeyValueHeads} D={shape.HeadWidth}";
        c.Bytes = 2L * shape.Rows * (shape.PackedColumns + shape.OutputColumns);
        c.Flops = 2.0 * shape.Sequences * shape.QueryHeads * shape.Tokens * shape.Tokens * width;
        c.Results = () =>
        {
            (double[] expected, double[] statistics) = Oracle.AttentionForward(Widen(x), shape);
            // p is rounded before it weighs the values, which are at most 1; the result is rounded once more.
            double singles = (shape.Tokens + (4 * width)) * Single;
            return
            [
                new("output", () => KernelCase.Widen(output), expected, Rounding, Rounding + singles),
                new("logsumexp", () => KernelCase.Widen(logSumExp), statistics, 4 * Single, singles),
            ];
        };
    }

    static int Blocks(long threads) => (int)((threads + 255) / 256);

    static double[] Widen(ushort[] values) => Array.ConvertAll(values, v => (double)BitConverter.UInt32BitsToSingle((uint)v << 16));

    // Uniform in [-1, 1), as bf16 by truncation: data need no rounding.
    static ushort[] Random(int seed, int count)
    {
        Random random = new(seed);
        ushort[] values = new ushort[count];
        for (int i = 0; i < count; i++)
        {
            values[i] = (ushort)(BitConverter.SingleToUInt32Bits((2 * random.NextSingle()) - 1) >> 16);
        }

        return values;
    }
}
