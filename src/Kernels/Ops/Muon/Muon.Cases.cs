// Cases of muon.cu: wide, tall and square matrices whose sides fill no tile. The matrix products between the kernels are cuBLASLt's.
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static readonly MuonStep _muonStep = new(0.02f, 0.95f, 0.1f);
    const float MuonScale = 0.5f;

    static Dictionary<string, Action<KernelCase>> MuonCases => new()
    {
        ["muon_momentum"] = MuonMomentum,
        ["muon_direction"] = MuonDirection,
        ["muon_update"] = MuonUpdate,
    };

    static (int Rows, int Columns) PickMatrix(KernelCase c)
    {
        (int rows, int columns) = c.Pick((4096, 4 * c.Size), (1, 1), (5, 70), (70, 33), (64, 64), (1, 40), (129, 128));
        c.Shape = $"[{rows}, {columns}]";
        return (rows, columns);
    }

    // one of the shapes is a step that must not be applied
    static (bool Moves, CudaDeviceVariable<float> Scale) PickScale(KernelCase c)
    {
        bool moves = c.Pick(true, true, true, true, false, true, true);
        return (moves, c.Upload([moves ? MuonScale : GradientClip.MovesNothing]));
    }

    /// <summary>struct Settings of muon.cu.</summary>
    static float[] MuonSettings(MuonStep s) => [s.LearningRate, s.Momentum, s.WeightDecay];

    static LaunchSize MuonTiles(int rows, int columns) => new((columns + 31) / 32, (rows + 31) / 32, 1);

    static double[] MuonUpdates(float[] gradient, float[] momentum, MuonStep s) =>
        [.. gradient.Zip(momentum, (g, m) => ((double)g * MuonScale) + ((double)s.Momentum * m))];

    // The transpose of x [rows, columns].
    static double[] Turned(double[] x, int rows, int columns) => [.. Enumerable.Range(0, x.Length).Select(i => x[(i % rows * columns) + (i / rows)])];

    static void MuonMomentum(KernelCase c)
    {
        (int rows, int columns) = PickMatrix(c);
        int count = rows * columns, blocks = (count + ReductionChunk - 1) / ReductionChunk;
        float[] gradient = RandomFloats(1, count), before = RandomFloats(2, count);
        (bool moves, CudaDeviceVariable<float> scale) = PickScale(c);
        var (g, m, settings, partial) = (c.Upload(gradient), c.Upload(before), c.Upload(MuonSettings(_muonStep)), c.Allocate<double>(blocks));
        CudaKernel kernel = c.Kernel("muon.cu", "muon_momentum");
        c.LaunchWith(() => kernel.Launch(c.Stream, blocks, 256, 0, g.Address, m.Address, settings.Address, scale.Address, partial.Address, (long)count));
        c.Bytes = 12L * count;
        c.Flops = 7.0 * count;
        c.Results = () =>
        {
            double[] after = KernelCase.Widen(m);
            if (!moves)
            {
                return [new("momentum", () => after, Widen(before)), new("sum of squares", () => KernelCase.Read(partial), new double[blocks])];
            }

            double[] expected = MuonUpdates(gradient, before, _muonStep);
            double squares = MuonUpdates(gradient, Array.ConvertAll(after, v => (float)v), _muonStep).Sum(u => u * u);
            // Operands are below 1: a product and a fused sum, each within one rounding of 1.5. u is at most 2.5, u*u off by twice that.
            return
            [
                new("momentum", () => after, expected, 0, 2 * 1.5 * Single),
                new("sum of squares", () => [KernelCase.Read(partial).Sum()], [squares], 0, count * 2 * 2.5 * 2 * 2.5 * Single),
            ];
        };
    }

    static void MuonDirection(KernelCase c)
    {
        (int rows, int columns) = PickMatrix(c);
        float[] gradient = RandomFloats(1, rows * columns), momentum = RandomFloats(2, rows * columns);
        double squares = MuonUpdates(gradient, momentum, _muonStep).Sum(u => u * u);
        var (g, m, settings, norm, x) = (c.Upload(gradient), c.Upload(momentum), c.Upload(MuonSettings(_muonStep)), c.Upload([squares]), c.Allocate<ushort>(rows * columns));
        CudaDeviceVariable<float> scale = c.Upload([MuonScale]);
        CudaKernel kernel = c.Kernel("muon.cu", "muon_direction");
        c.LaunchWith(() => kernel.Launch(c.Stream, MuonTiles(rows, columns), 256, 0, g.Address, m.Address, settings.Address, scale.Address, norm.Address, x.Address, rows, columns));
        c.Bytes = 10L * rows * columns;
        c.Flops = 4.0 * rows * columns;
        c.Results = () =>
        {
            double unit = 1 / (Math.Sqrt(squares) + 1e-7);
            double[] expected = [.. MuonUpdates(gradient, momentum, _muonStep).Select(u => u * unit)];
            return [new("direction", () => KernelCase.Widen(x), rows > columns ? Turned(expected, rows, columns) : expected, Rounding + (4 * Single), 3 * Single * unit)];
        };
    }

    static void MuonUpdate(KernelCase c)
    {
        (int rows, int columns) = PickMatrix(c);
        float[] master = RandomFloats(1, rows * columns);
        ushort[] direction = Random(2, rows * columns);
        var weight = c.Upload(Array.ConvertAll(master, w => BFloat16.Split(w).High));
        var low = c.Upload(Array.ConvertAll(master, w => BFloat16.Split(w).Low));
        var (x, settings) = (c.Upload(direction), c.Upload(MuonSettings(_muonStep)));
        (bool moves, CudaDeviceVariable<float> scale) = PickScale(c);
        CudaKernel kernel = c.Kernel("muon.cu", "muon_update");
        c.LaunchWith(() => kernel.Launch(c.Stream, MuonTiles(rows, columns), 256, 0, weight.Address, low.Address, x.Address, settings.Address, scale.Address, rows, columns));
        c.Bytes = 10L * rows * columns;
        c.Flops = 4.0 * rows * columns;
        c.Results = () =>
        {
            double keep = 1 - ((double)_muonStep.LearningRate * _muonStep.WeightDecay), rate = _muonStep.LearningRate * 0.2 * Math.Sqrt(Math.Max(rows, columns));
            double[] given = Widen(direction);
            double[] expected = [.. master.Zip(rows > columns ? Turned(given, columns, rows) : given, (w, d) => moves ? (w * keep) - (rate * d) : w)];
            double[] Master() => [.. KernelCase.Read(weight).Zip(KernelCase.Read(low), (h, l) => (double)BFloat16.Join(h, l))];
            // keep rounds twice, rate three times, the products and the difference once each; operands are below 1.
            double allowed = (4 + (6 * rate)) * Single;
            return [new("master", Master, expected, 0, allowed), new("weight", () => KernelCase.Widen(weight), expected, Rounding, allowed)];
        };
    }
}
