// Matrix products against OpenBLAS and the multiply-add peak, all in one run and alternately: the shapes of preset 30m
// with 4 x 512 tokens, and squares.
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Bench;

static unsafe class GemmSuite
{
    sealed record Shape(string Name, int M, int N, int K, bool TransposeA, bool TransposeB, float Beta);

    static readonly Shape[] _shapes =
    [
        new("qkv forward", 2048, 1536, 512, false, true, 0),
        new("out forward", 2048, 512, 512, false, true, 0),
        new("up forward", 2048, 2816, 512, false, true, 0),
        new("down forward", 2048, 512, 1408, false, true, 0),
        new("head chunk", 512, 4096, 512, false, true, 0),
        new("qkv dx", 2048, 512, 1536, false, false, 0),
        new("up dx", 2048, 512, 2816, false, false, 0),
        new("down dx", 2048, 1408, 512, false, false, 0),
        new("qkv dw", 1536, 512, 2048, true, false, 1),
        new("up dw", 2816, 512, 2048, true, false, 1),
        new("down dw", 512, 1408, 2048, true, false, 1),
        new("head dw", 4096, 512, 512, true, false, 1),
        new("square 512", 512, 512, 512, false, false, 0),
        new("square 1024", 1024, 1024, 1024, false, false, 0),
        new("square 1536", 1536, 1536, 1536, false, false, 0),
        new("square 2048", 2048, 2048, 2048, false, false, 0),
        new("decode 1", 1, 1536, 512, false, true, 0),
        new("decode 8", 8, 1536, 512, false, true, 0),
    ];

    public static int Run(string[] arguments)
    {
        int threads = arguments.Length > 0 ? int.Parse(arguments[0]) : Environment.ProcessorCount;
        string filter = arguments.Length > 1 ? arguments[1] : "";
        ThreadTeam team = new(threads);
        using CpuOps ops = new(team, VectorPathChoice.FromEnvironment());
        if (OpenBlas.IsPresent)
        {
            OpenBlas.SetThreads(threads);
        }

        Console.WriteLine($"peer: {(OpenBlas.IsPresent ? OpenBlas.Configuration : OpenBlas.HowToInstall)}");
        foreach (Shape shape in _shapes.Where(shape => shape.Name.Contains(filter, StringComparison.Ordinal)))
        {
            Measure(shape, ops, team);
        }

        return 0;
    }

    static void Measure(Shape shape, CpuOps ops, ThreadTeam team)
    {
        (int m, int n, int k) = (shape.M, shape.N, shape.K);
        Tensor a = RandomTensor.Create(shape.TransposeA ? k : m, shape.TransposeA ? m : k), b = RandomTensor.Create(shape.TransposeB ? n : k, shape.TransposeB ? k : n);
        Tensor c = RandomTensor.Create(m, n);
        double[][] seconds = Clock.Alternately(
            9,
            0.02,
            () => ops.MatrixProduct(a, shape.TransposeA, b, shape.TransposeB, c, 1, shape.Beta),
            () =>
            {
                if (OpenBlas.IsPresent)
                {
                    OpenBlas.Sgemm(shape.TransposeA, shape.TransposeB, m, n, k, 1, (float*)a.Address, a.Stride, (float*)b.Address, b.Stride, shape.Beta, (float*)c.Address, n);
                }
            });
        Thread.Sleep(40);
        double peak = CpuPeak.MeasureFmaGflops(team, VectorPathChoice.Widest);
        double gflop = 2.0 * m * n * k / 1e9, ours = gflop / Clock.Median(seconds[0]), theirs = gflop / Clock.Median(seconds[1]);
        Console.WriteLine($"{shape.Name,-14} [{m}, {n}, {k}] {ours,7:F1} GFLOP/s, OpenBLAS {theirs,7:F1}, ratio {ours / theirs:F3}, of peak {ours / peak:F3} ({peak:F0}) ratio of best {seconds[1].Min() / seconds[0].Min():F3}");
        string device = $"cpu ({VectorPathChoice.FromEnvironment()}, {team.Count} threads)";
        string form = $"M={m} N={n} K={k} {(shape.TransposeA ? "T" : "N")}{(shape.TransposeB ? "T" : "N")} beta={shape.Beta} fp32";
        Records.AppendRate("kernels-cpu.jsonl", "kernels.gemm " + shape.Name, form, device, gflop, seconds[0], OpenBlas.IsPresent ? seconds[1] : null, peak);
        RandomTensor.Free(a, b, c);
    }
}
