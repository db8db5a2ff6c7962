// embedding.cu and classifier.cu against plain loops in double.
namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class TokenKernelTests(SoftwareCuda cuda)
{
    [Theory]
    [InlineData(1, 8, 4)]
    [InlineData(37, 24, 5)]
    [InlineData(300, 264, 50)]
    public void Embedding_ForwardAndBackward_MatchDouble(int rows, int columns, int vocabulary)
    {
        Random random = new(rows);
        int[] tokens = [.. Enumerable.Range(0, rows).Select(_ => random.Next(vocabulary))];
        ushort[] table = Bf16.Random(random, vocabulary * columns), gradient = Bf16.Random(random, rows * columns);
        using var ids = cuda.Upload<int>(tokens);
        using var weights = cuda.Upload<ushort>(table);
        using var output = cuda.Allocate<ushort>((long)rows * columns);
        using var gradOutput = cuda.Upload<ushort>(gradient);
        using var gradTable = cuda.Upload<float>([.. Enumerable.Repeat(1f, table.Length)]);
        cuda.Kernel("embedding.cu", "embedding_forward").Launch(cuda.Stream, rows, 32, 0, ids.Address, weights.Address, output.Address, columns);
        const int Threads = 64;
        cuda.Kernel("embedding.cu", "embedding_backward").Launch(
            cuda.Stream, new(rows, (columns + (8 * Threads) - 1) / (8 * Threads), 1), Threads, 0, ids.Address, gradOutput.Address, gradTable.Address, rows, columns);

        ushort[] expected = [.. Enumerable.Range(0, rows * columns).Select(i => table[(tokens[i / columns] * columns) + (i % columns)])];
        Assert.Equal(expected, cuda.Download(output));
        // The same fp32 additions in the order of the rows: equal bits.
        float[] sums = new float[table.Length];
        for (int i = 0; i < gradient.Length; i++)
        {
            sums[(tokens[i / columns] * columns) + (i % columns)] += (float)Bf16.To(gradient[i]);
        }

        Assert.Equal([.. sums.Select(s => 1f + s)], cuda.Download(gradTable));
    }

    [Theory]
    [InlineData(1, 8, 32)]
    [InlineData(4, 13, 32)]
    [InlineData(3, 1000, 96)]
    [InlineData(2, 4099, 1024)]
    public void CrossEntropy_LossAndGradient_MatchDouble(int rows, int vocabulary, int threads)
    {
        Random random = new(vocabulary);
        int stride = (vocabulary + 7) / 8 * 8;
        const float Scale = 0.25f;
        ushort[] logits = Bf16.Random(random, rows * stride, 8);
        int[] labels = [.. Enumerable.Range(0, rows).Select(r => r == 2 ? -1 : random.Next(vocabulary))];
        using var x = cuda.Upload<ushort>(logits);
        using var targets = cuda.Upload<int>(labels);
        using var losses = cuda.Allocate<float>(rows);
        cuda.Kernel("classifier.cu", "cross_entropy").Launch(cuda.Stream, rows, threads, 0, x.Address, targets.Address, losses.Address, vocabulary, stride, Scale, 1);

        double[] expectedLoss = new double[rows], expected = Bf16.Widen(logits);
        for (int r = 0; r < rows; r++)
        {
            double[] row = Bf16.Widen(logits[(r * stride)..((r * stride) + vocabulary)]);
            double top = row.Max(), sum = row.Sum(v => Math.Exp(v - top));
            expectedLoss[r] = labels[r] < 0 ? 0 : top + Math.Log(sum) - row[labels[r]];
            for (int c = 0; c < vocabulary; c++)
            {
                expected[(r * stride) + c] = labels[r] < 0 ? 0 : Scale * ((Math.Exp(row[c] - top) / sum) - (c == labels[r] ? 1 : 0));
            }
        }

        // The sum of V exponentials in fp32; the exponent's argument, at most 16*log2(e), is rounded to 2^-24 of itself.
        double singles = ((vocabulary / (double)threads) + 64) * Bf16.Single;
        Bf16.Close(expectedLoss, Bf16.Widen(cuda.Download(losses)), singles, 16 * singles, "loss");
        Bf16.Close(expected, Bf16.Widen(cuda.Download(x)), Bf16.Rounding + singles, Scale * singles, "dlogits");
    }
}
