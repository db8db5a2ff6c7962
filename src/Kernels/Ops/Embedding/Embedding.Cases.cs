// Cases of embedding.cu.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> EmbeddingCases => new()
    {
        ["embedding_forward"] = EmbeddingForward,
        ["embedding_backward"] = EmbeddingBackward,
    };

    static (int[] Ids, int Columns, int Vocabulary) PickIds(KernelCase c)
    {
        (int rows, int columns, int vocabulary) = c.Pick((16 * c.Size, 4096, 16384), (1, 8, 4), (37, 24, 5), (300, 264, 50), (65, 4096, 3));
        c.Shape = $"R={rows} C={columns} V={vocabulary}";
        Random random = new(4);
        return ([.. Enumerable.Range(0, rows).Select(_ => random.Next(vocabulary))], columns, vocabulary);
    }

    static void EmbeddingForward(KernelCase c)
    {
        (int[] tokens, int columns, int vocabulary) = PickIds(c);
        ushort[] weights = Random(1, vocabulary * columns);
        var (ids, table, output) = (c.Upload(tokens), c.Upload(weights), c.Allocate<ushort>((long)tokens.Length * columns));
        CudaKernel kernel = c.Kernel("embedding.cu", "embedding_forward");
        c.LaunchWith(() => kernel.Launch(c.Stream, tokens.Length, 256, 0, ids.Address, table.Address, output.Address, columns));
        c.Bytes = 4L * tokens.Length * columns;
        c.Results = () => [new("output", () => KernelCase.Widen(output), Oracle.EmbeddingForward(tokens, Widen(weights), columns))];
    }

    static void EmbeddingBackward(KernelCase c)
    {
        const int Threads = 256;
        (int[] tokens, int columns, int vocabulary) = PickIds(c);
        ushort[] gradient = Random(1, tokens.Length * columns);
        float[] before = RandomFloats(2, vocabulary * columns);
        var (ids, dy, table) = (c.Upload(tokens), c.Upload(gradient), c.Upload(before));
        CudaKernel kernel = c.Kernel("embedding.cu", "embedding_backward");
        LaunchSize grid = new(tokens.Length, (columns + (8 * Threads) - 1) / (8 * Threads), 1);
        c.LaunchWith(() => kernel.Launch(c.Stream, grid, Threads, 0, ids.Address, dy.Address, table.Address, tokens.Length, columns));
        c.Bytes = (2L * tokens.Length * columns) + (8L * tokens.Distinct().Count() * columns);
        c.Flops = (double)tokens.Length * columns;
        c.Results = () =>
        {
            // The same fp32 additions in the order of the rows: equal bits.
            float[] sums = new float[before.Length];
            for (int i = 0; i < gradient.Length; i++)
            {
                sums[(tokens[i / columns] * columns) + (i % columns)] += (float)Widen([gradient[i]])[0];
            }

            return [new("gradient", () => KernelCase.Widen(table), Widen([.. before.Zip(sums, (b, s) => b + s)]))];
        };
    }
}
