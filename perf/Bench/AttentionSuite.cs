// Attention forward and backward against the multiply-add peak, measured in the same run on the same threads. Causal
// FLOP: 2*B*H*T*T*D forward, 2.5 times that backward.
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Bench;

static unsafe class AttentionSuite
{
    const int Samples = 9;

    static readonly AttentionShape[] _shapes =
    [
        new(Sequences: 4, Tokens: 512, QueryHeads: 8, KeyValueHeads: 8, HeadWidth: 64),
        new(Sequences: 2, Tokens: 1024, QueryHeads: 8, KeyValueHeads: 8, HeadWidth: 64),
        new(Sequences: 2, Tokens: 1024, QueryHeads: 16, KeyValueHeads: 4, HeadWidth: 128),
    ];

    public static int Run(string[] arguments)
    {
        int threads = arguments.Length > 0 ? int.Parse(arguments[0]) : Environment.ProcessorCount;
        ThreadTeam team = new(threads);
        using CpuOps ops = new(team, VectorPathChoice.FromEnvironment());
        foreach (AttentionShape shape in _shapes)
        {
            Measure(shape, ops, team);
        }

        return 0;
    }

    static void Measure(AttentionShape shape, CpuOps ops, ThreadTeam team)
    {
        Tensor qkv = RandomTensor.Create(shape.Rows, shape.PackedColumns), output = RandomTensor.Create(shape.Rows, shape.OutputColumns);
        Tensor gradOutput = RandomTensor.Create(shape.Rows, shape.OutputColumns), gradQkv = RandomTensor.Create(shape.Rows, shape.PackedColumns);
        Tensor logSumExp = RandomTensor.Create(shape.Sequences * shape.QueryHeads, shape.Tokens);
        void* scratch = CpuMemory.Allocate(ops.AttentionBackwardBytes(shape));
        double[][] seconds = Clock.Alternately(
            Samples,
            0.03,
            () => ops.AttentionForward(qkv, output, logSumExp, shape),
            () => ops.AttentionBackward(qkv, output, gradOutput, logSumExp, gradQkv, (nint)scratch, shape, default, 0));
        double peak = CpuPeak.MeasureFmaGflops(team, VectorPathChoice.Widest);
        double gflop = 2.0 * shape.Sequences * shape.QueryHeads * shape.Tokens * shape.Tokens * shape.HeadWidth / 1e9;
        string device = $"cpu ({VectorPathChoice.FromEnvironment()}, {team.Count} threads)";
        string text = $"B={shape.Sequences} T={shape.Tokens} H={shape.QueryHeads} G={shape.KeyValueHeads} D={shape.HeadWidth} fp32 causal";
        foreach ((string name, double work, double[] samples) in new[] { ("forward", gflop, seconds[0]), ("backward", 2.5 * gflop, seconds[1]) })
        {
            double rate = work / Clock.Median(samples);
            Console.WriteLine($"{name,-9} {text}: {rate,7:F1} GFLOP/s, of peak {rate / peak:F3} ({peak:F0}), best {work / samples.Min() / peak:F3}");
            Records.AppendRate("kernels-cpu.jsonl", $"kernels.attention_{name}", text, device, work, samples, null, peak);
        }

        CpuMemory.Free(scratch);
        RandomTensor.Free(qkv, output, gradOutput, gradQkv, logSumExp);
    }
}
