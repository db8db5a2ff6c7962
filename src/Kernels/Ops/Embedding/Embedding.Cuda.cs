// The embedding on CUDA: a block a row; backward adds rows of one id in their order, without atomics (embedding.cu).
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    CudaKernel? _embeddingForward, _embeddingBackward;

    /// <inheritdoc cref="IOps.EmbeddingForward"/>
    public void EmbeddingForward(Tensor ids, Tensor table, Tensor output)
    {
        Shape.IsVector(ids, ElementType.Int32, output.Rows);
        Shape.Is(table, ElementType.BFloat16, table.Rows, output.Columns);
        Shape.IsType(output, ElementType.BFloat16);
        Shape.Holds(table.IsContiguous && output.IsContiguous, "rows without gaps", output);
        RequireChunks(output);
        _embeddingForward ??= Kernel("embedding.cu", "embedding_forward");
        _embeddingForward.Launch(_stream, output.Rows, RowThreads(output.Columns, Threads), 0, ids, table, output, output.Columns);
    }

    /// <inheritdoc cref="IOps.EmbeddingBackward"/>
    public void EmbeddingBackward(Tensor ids, Tensor gradOutput, Tensor gradTable)
    {
        Shape.IsVector(ids, ElementType.Int32, gradOutput.Rows);
        Shape.IsType(gradOutput, ElementType.BFloat16);
        Shape.Is(gradTable, ElementType.Float32, gradTable.Rows, gradOutput.Columns);
        Shape.Holds(gradOutput.IsContiguous && gradTable.IsContiguous, "rows without gaps", gradOutput);
        RequireChunks(gradOutput);
        _embeddingBackward ??= Kernel("embedding.cu", "embedding_backward");
        int threads = RowThreads(gradOutput.Columns, Threads);
        _embeddingBackward.Launch(
            _stream, new(gradOutput.Rows, DivideUp(gradOutput.Columns, Chunk * threads), 1), threads, 0,
            ids, gradOutput, gradTable, gradOutput.Rows, gradOutput.Columns);
    }

    /// <summary>Whole warps for a row with eight columns a thread.</summary>
    static int RowThreads(int columns, int most) => Math.Clamp(DivideUp(columns, Chunk * 32) * 32, 32, most);
}
