// Cases of clip.cu: norms below and above the limit, no limit, terms that fill no chunk, what is not finite, and the largest that is.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> ClipCases => new() { ["clip_scale"] = ClipScale };

    static void ClipScale(KernelCase c)
    {
        (int tensors, int microbatches, double limit, double poison) = c.Pick(
            (4 * c.Size, 64, 1.0, 0.0), (1, 1, 1e9, 0.0), (255, 257, 1.0, 0.0), (300, 3, 0.0, 0.0), (12, 2, 1.0, double.NaN), (12, 300, 1.0, double.PositiveInfinity),
            (2, 3, 1.0, double.MaxValue), (2, 3, 1.0, -double.MaxValue), (2, 3, 1.0, double.NegativeInfinity));
        c.Shape = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"tensors={tensors} microbatches={microbatches} limit={limit} poison={poison}");
        double[] squares = Array.ConvertAll(RandomFloats(1, tensors), x => (double)x * x), losses = Array.ConvertAll(RandomFloats(2, microbatches), x => 2000.0 + x);
        bool inLosses = Math.Abs(poison) == double.MaxValue || poison < 0;
        if (poison != 0)
        {
            (inLosses ? losses : squares)[^1] = poison;
        }

        var (from, beside, totals, scale) = (c.Upload(squares), c.Upload(losses), c.Allocate<double>(2), c.Allocate<float>(1));
        CudaKernel kernel = c.Kernel("clip.cu", "clip_scale");
        c.LaunchWith(() => kernel.Launch(c.Stream, 1, 256, 0, from.Address, tensors, beside.Address, microbatches, limit, totals.Address, scale.Address));
        c.Bytes = 8L * (tensors + microbatches);
        c.Flops = tensors + microbatches;
        c.Results = () =>
        {
            // equal to the bit: the same terms in the same order, each operation rounded as IEEE 754 says
            double norm = Math.Sqrt(squares.Aggregate(0.0, (sum, x) => sum + x)), loss = losses.Aggregate(0.0, (sum, x) => sum + x);
            float expected = !double.IsFinite(norm) || !double.IsFinite(loss) ? -1 : limit > 0 && norm > limit ? (float)(limit / norm) : 1;
            return
            [
                new("scale", () => [KernelCase.Read(scale)[0]], [expected]),
                .. (KernelResult[])(double.IsFinite(loss) ? [new("loss", () => [KernelCase.Read(totals)[1]], [loss])] : []),
                .. (KernelResult[])(double.IsFinite(norm) ? [new("norm", () => [KernelCase.Read(totals)[0]], [norm])] : []),
            ];
        };
    }
}
