// Cases of adamw.cu: the exact master against the oracle; the rounded weights against the two neighbours of the oracle's.
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> AdamWCases => new()
    {
        ["adamw"] = c => AdamW(c, exact: true),
        ["adamw_stochastic"] = c => AdamW(c, exact: false),
    };

    /// <summary>struct Settings of adamw.cu.</summary>
    static uint[] AdamWSettings(AdamWStep s, uint tensor) =>
    [
        .. ((float[])[s.LearningRate, s.Beta1, s.Beta2, s.Epsilon, s.WeightDecay,
            (float)(1 / (1 - Math.Pow(s.Beta1, s.Step))), (float)(1 / (1 - Math.Pow(s.Beta2, s.Step)))]).Select(BitConverter.SingleToUInt32Bits),
        (uint)s.Step, tensor,
    ];

    // Of the differences of magnitudes, in steps of bf16. Bits that are random round without a bias: 0, within six deviations of at most 1/2 each.
    static double MeanOfRounding(double[] rounded, double[] exact) => rounded.Zip(exact, (r, e) => (Math.Abs(r) - Math.Abs(e)) / Math.ScaleB(1, Math.ILogB(e) - 7)).Average();

    static void AdamW(KernelCase c, bool exact)
    {
        int count = c.Pick(16384 * c.Size, 1, 8, 1003, 4096, 999);
        c.Shape = $"n={count}";
        AdamWStep step = new(3, 0.01f, 0.9f, 0.95f, 1e-8f, 0.1f);
        float scale = c.Pick(0.5f, 0.5f, 1f, GradientClip.MovesNothing, 0.25f, 2f);
        float[] master = RandomFloats(1, count), gradient = RandomFloats(2, count), m = RandomFloats(3, count), v = Array.ConvertAll(RandomFloats(4, count), Math.Abs);
        ushort[] high = Array.ConvertAll(master, w => BFloat16.Split(w).High);
        ushort[] words = exact ? Array.ConvertAll(master, w => BFloat16.Split(w).Low) : new ushort[count];
        var (weight, low, g, dm, dv) = (c.Upload(high), c.Upload(words), c.Upload(gradient), c.Upload(m), c.Upload(v));
        CudaDeviceVariable<uint> settings = c.Upload(AdamWSettings(step, tensor: 7));
        CudaDeviceVariable<float> factor = c.Upload([scale]);
        CudaKernel kernel = c.Kernel("adamw.cu", exact ? "adamw" : "adamw_stochastic");
        c.LaunchWith(exact
            ? () => kernel.Launch(c.Stream, Blocks((count + 3) / 4), 256, 0, weight.Address, low.Address, g.Address, dm.Address, dv.Address, settings.Address, factor.Address, (long)count)
            : () => kernel.Launch(c.Stream, Blocks((count + 3) / 4), 256, 0, weight.Address, g.Address, dm.Address, dv.Address, settings.Address, factor.Address, (long)count));
        c.Bytes = (exact ? 28L : 24L) * count;
        c.Flops = 15.0 * count;
        c.Results = () =>
        {
            double[] w = [.. high.Zip(words, (h, l) => (double)BFloat16.Join(h, l))];
            double[] first = Widen(m), second = Widen(v);
            if (scale >= 0)
            {
                Oracle.AdamW(w, Widen(gradient), first, second, step, scale);
            }

            double[] Master() => [.. KernelCase.Read(weight).Zip(KernelCase.Read(low), (h, l) => (double)BFloat16.Join(h, l))];
            // The update is at most lr * |m| / sqrt(v): its dozen roundings are relative to it, and v may be small.
            double[] updates = [.. first.Zip(second, (a, b) => 0.01 * Math.Abs(a / (1 - Math.Pow(0.9, 3))) / Math.Sqrt(b / (1 - Math.Pow(0.95, 3))))];
            double[] allowed = [.. w.Select((value, i) => (4 * Single * (1 + Math.Abs(value))) + (32 * Single * updates[i]) + (exact ? 0 : 2 * Rounding * Math.Abs(value)))];
            KernelResult[] weights = exact
                ? [new("master", Master, w, allowed), new("weight", () => KernelCase.Widen(weight), w, [.. allowed.Zip(w, (a, value) => a + (Rounding * Math.Abs(value)))])]
                : [new("weight", () => KernelCase.Widen(weight), w, allowed), new("mean of the rounding", () => [MeanOfRounding(KernelCase.Widen(weight), w)], [0], 0, 3 / Math.Sqrt(count))];
            return
            [
                .. weights,
                new("m", () => KernelCase.Widen(dm), first, 4 * Single, 4 * Single),
                new("v", () => KernelCase.Widen(dv), second, 8 * Single, 4 * Single),
            ];
        };
    }
}
