// Memory-bound operations against the copy bandwidth of the same run. The prediction is the traffic that each operation
// cannot avoid (in its CPU file's header) at the speed of a copy; the ratio of that time to the measured one is what is left
// to gain. Two sizes: the activations of preset 30m with 4 x 512 tokens, and arrays far larger than the caches.
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Bench;

static unsafe class ElementwiseSuite
{
    const int Samples = 9;
    const double SecondsASample = 0.02;

    sealed record Case(string Name, string Shape, long Bytes, Action Call);

    public static int Run(string[] arguments)
    {
        int threads = arguments.Length > 0 ? int.Parse(arguments[0]) : Environment.ProcessorCount;
        string filter = arguments.Length > 1 ? arguments[1] : "";
        using CpuDevice device = new(threads);
        using Arena arena = new(device);
        foreach ((string size, int rows) in new[] { ("30m", 2048), ("large", 32768) })
        {
            Tensor copySource = arena.Tensor(rows * 9, 512), copyTarget = arena.Tensor(rows * 9, 512);
            foreach (Case measured in Cases(device.Ops, arena, rows, size).Where(c => c.Name.Contains(filter, StringComparison.Ordinal)))
            {
                // the copy moves as many bytes as the operation, from and to memory of its own: it meets the same caches
                int copyRows = (int)(measured.Bytes / (8 * 512));
                Tensor from = copySource.RowRange(0, copyRows), to = copyTarget.RowRange(0, copyRows);
                double[][] seconds = Clock.Alternately(Samples, SecondsASample, measured.Call, () => device.Ops.Copy(from, to));
                double copy = 8.0 * copyRows * 512 / Clock.Median(seconds[1]);
                double ceiling = measured.Bytes / copy;
                double median = Clock.Median(seconds[0]);
                Console.WriteLine($"{measured.Name,-22} {measured.Shape,-24} {measured.Bytes / 1e6,8:F1} MB {median * 1e6,9:F1} us {measured.Bytes / median / 1e9,7:F1} GB/s, copy {copy / 1e9,6:F1}, ratio {ceiling / median:F2}");
                Records.AppendBandwidth("kernels-cpu.jsonl", $"kernels.{measured.Name}", measured.Shape, device.Name, measured.Bytes, seconds[0], ceiling, copy / 1e9);
            }

            arena.Clear();
        }

        return 0;
    }

    static IEnumerable<Case> Cases(IOps ops, Arena arena, int rows, string size)
    {
        const int width = 512, feedForward = 1408;
        string shape = $"{size} R={rows} C={width}";
        long n = (long)rows * width, f = (long)rows * feedForward;
        (Tensor x, Tensor y, Tensor z) = (arena.Tensor(rows, width), arena.Tensor(rows, width), arena.Tensor(rows, width));
        (Tensor weight, Tensor gradWeight, Tensor rstd) = (arena.Tensor(1, width), arena.Tensor(1, width), arena.Tensor(rows, 1));
        (Tensor gateUp, Tensor s) = (arena.Tensor(rows, 2 * feedForward), arena.Tensor(rows, feedForward));
        (Tensor m, Tensor v) = (arena.Tensor(rows, width), arena.Tensor(rows, width));
        ops.Scale(v, 0);
        yield return new("add", shape, 12 * n, () => ops.Add(x, y));
        yield return new("rms_norm_forward", shape, 8 * n, () => ops.RmsNormForward(x, weight, y, rstd, 1e-5f));
        yield return new("add_rms_norm_forward", shape, 16 * n, () => ops.AddRmsNormForward(x, y, weight, z, m, rstd, 1e-5f));
        yield return new("rms_norm_backward", shape, 12 * n, () => ops.RmsNormBackward(y, x, weight, rstd, z, false, gradWeight));
        yield return new("rms_norm_backward_add", shape, 16 * n, () => ops.RmsNormBackward(y, x, weight, rstd, z, true, gradWeight));
        yield return new("swiglu_forward", $"{size} R={rows} F={feedForward}", 12 * f, () => ops.SwiGluForward(gateUp, s));
        yield return new("swiglu_backward", $"{size} R={rows} F={feedForward}", 24 * f, () => ops.SwiGluBackward(gateUp, s));
        nint settings = arena.Bytes(AdamWStep.SettingsBytes);
        ops.SetAdamW(new(10, 1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f), settings);
        Tensor factor = arena.Tensor(1, 1);
        ops.Zero(factor);
        yield return new("adamw", shape, 28 * n, () => ops.AdamW(z, default, x, m, v, settings, factor));
        AttentionShape heads = new(rows / 512, 512, 6, 1, 64);
        Tensor table = arena.Tensor(512, 64);
        ops.RotaryTable(table, 500_000);
        yield return new("rotary", $"{size} R={rows} H+G=7 D=64", 8L * rows * 7 * 64, () => ops.Rotary(x, table, heads, 0, false));
        Tensor results = new(arena.Bytes(8), ElementType.Float64, 1, 1);
        yield return new("sum_of_squares", shape, 4 * n, () => ops.SumOfSquares(x, results, 0));
        Tensor half = new(arena.Bytes(2 * n), ElementType.BFloat16, rows, width);
        yield return new("copy_to_bfloat16", shape, 6 * n, () => ops.Copy(x, half));
        nint wire = arena.Bytes(CodeWire.Bytes(WireFormat.Int8, rows, width));
        yield return new("code_pack_int8", shape, (5 * n) + (2 * rows), () => ops.CodePack(x, WireFormat.Int8, wire));
        yield return new("code_unpack_int8", shape, (5 * n) + (2 * rows), () => ops.CodeUnpack(wire, WireFormat.Int8, y));
        Tensor ids = arena.Ids(rows, 4096);
        Tensor embedding = arena.Tensor(4096, width);
        yield return new("embedding_forward", shape, 8 * n, () => ops.EmbeddingForward(ids, embedding, y));
        yield return new("embedding_backward", shape, 12 * n, () => ops.EmbeddingBackward(ids, y, embedding));
    }

    /// <summary>Memory of one size class, random where it holds numbers.</summary>
    sealed class Arena(CpuDevice device) : IDisposable
    {
        readonly List<nint> _blocks = [];

        public nint Bytes(long count)
        {
            _blocks.Add(device.Allocate(count, "a benchmark"));
            return _blocks[^1];
        }

        public Tensor Tensor(int rows, int columns)
        {
            Tensor tensor = new(Bytes(4L * rows * columns), ElementType.Float32, rows, columns);
            new CounterRandom(1, (ulong)_blocks.Count).FillNormal(new Span<float>((void*)tensor.Address, rows * columns), 0, 1);
            return tensor;
        }

        public Tensor Ids(int count, int limit)
        {
            Tensor tensor = new(Bytes(4L * count), ElementType.Int32, count, 1);
            CounterRandom random = new(1, 0);
            for (int i = 0; i < count; i++)
            {
                ((int*)tensor.Address)[i] = (int)(random.Uniform(i) * limit);
            }

            return tensor;
        }

        public void Clear()
        {
            _blocks.ForEach(device.Free);
            _blocks.Clear();
        }

        public void Dispose() => Clear();
    }
}
