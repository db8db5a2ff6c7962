// A card that is not here, for memory plans: the types and the scratch of CudaDevice without a driver. What CUDA itself takes (its
// context, and a workspace of products that grows with the shapes seen) is in no plan, of a card that is here neither.
namespace OrionNative.Kernels.Cuda;

/// <param name="name">For people.</param>
sealed class CudaOnPaper(string name) : IDeviceSizes, IScratchSizes
{
    /// <inheritdoc/>
    public string Name => name;

    /// <inheritdoc/>
    public ElementType ComputeType => ElementType.BFloat16;

    /// <inheritdoc/>
    public long WorkspaceBytes => 0;

    /// <inheritdoc/>
    public bool IsApart => true;

    /// <inheritdoc/>
    public IScratchSizes Scratch => this;

    /// <inheritdoc/>
    public long AttentionBackwardBytes(AttentionShape shape) => AttentionScratch.Of(shape).Bytes;

    /// <inheritdoc/>
    public long ClassifierBytes(int rows, int width, int vocabulary) => CudaOps.ClassifierScratchBytes(rows, vocabulary);

    /// <inheritdoc/>
    public long MuonBytes(int rows, int columns) => CudaOps.MuonScratchBytes(rows, columns);
}
