// The case of classifier.cu: vocabularies with tails, a row without target, one whose target is the first, blocks of one warp and of many.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> ClassifierCases => new() { ["cross_entropy"] = CrossEntropy };

    static void CrossEntropy(KernelCase c)
    {
        const float Scale = 0.25f;
        (int rows, int vocabulary, int threads) = c.Pick((4 * c.Size, 32_000, 512), (1, 8, 32), (4, 13, 32), (3, 1000, 96), (3, 4099, 1024));
        int stride = (vocabulary + 7) / 8 * 8;
        c.Shape = $"R={rows} V={vocabulary} threads {threads}";
        ushort[] logits = Random(1, rows * stride, 8);
        Random random = new(2);
        int[] labels = [.. Enumerable.Range(0, rows).Select(r => r == 2 ? -1 : r == 1 ? 0 : random.Next(vocabulary))];
        var (x, targets, losses) = (c.Upload(logits), c.Upload(labels), c.Allocate<float>(rows));
        CudaKernel kernel = c.Kernel("classifier.cu", "cross_entropy");
        c.LaunchWith(() => kernel.Launch(c.Stream, rows, threads, 0, x.Address, targets.Address, losses.Address, vocabulary, stride, Scale, 1));
        c.Bytes = 4L * rows * vocabulary;
        c.Flops = 8.0 * rows * vocabulary;
        c.Results = () =>
        {
            double[] expectedLoss = new double[rows], expected = Widen(logits);
            for (int r = 0; r < rows; r++)
            {
                double[] row = Widen(logits[(r * stride)..((r * stride) + vocabulary)]);
                double top = row.Max(), sum = row.Sum(v => Math.Exp(v - top));
                expectedLoss[r] = labels[r] < 0 ? 0 : top + Math.Log(sum) - row[labels[r]];
                for (int i = 0; i < vocabulary; i++)
                {
                    expected[(r * stride) + i] = labels[r] < 0 ? 0 : Scale * ((Math.Exp(row[i] - top) / sum) - (i == labels[r] ? 1 : 0));
                }
            }

            // The sum of V exponentials in fp32; the exponent's argument, at most 16*log2(e), is rounded to 2^-24 of itself.
            double singles = ((vocabulary / (double)threads) + 64) * Single;
            return
            [
                new("loss", () => KernelCase.Widen(losses), expectedLoss, singles, 16 * singles),
                new("gradient", () => KernelCase.Widen(x), expected, Rounding + singles, Scale * singles),
            ];
        };
    }
}
