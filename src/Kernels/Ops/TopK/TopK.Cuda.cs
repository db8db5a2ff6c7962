// Top-k on CUDA: a block for each chunk; the bytes and the error are those of the CPU.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string TopKSource = "topk.cu";

    CudaKernel? _topKPack, _topKAdd;

    /// <inheritdoc cref="IOps.TopKPack"/>
    public void TopKPack(Tensor x, Tensor error, float decay, int kept, nint destination)
    {
        Shape.Is(x, ElementType.Float32, error.Rows, error.Columns);
        Shape.Is(error, ElementType.Float32, x.Rows, x.Columns);
        Shape.Holds(x.IsContiguous && error.IsContiguous, "no gaps", x);
        TopKWire.RequireKept(kept);
        ArgumentOutOfRangeException.ThrowIfZero(destination);
        _topKPack ??= Kernel(TopKSource, "topk_pack");
        _topKPack.Launch(_stream, DivideUp(x.Count, TopKWire.Chunk), Threads, 0, x, error, decay, kept, destination, x.Count);
    }

    /// <inheritdoc cref="IOps.TopKAdd"/>
    public void TopKAdd(nint source, int kept, float weight, Tensor destination)
    {
        Shape.IsType(destination, ElementType.Float32);
        Shape.Holds(destination.IsContiguous, "no gaps", destination);
        TopKWire.RequireKept(kept);
        ArgumentOutOfRangeException.ThrowIfZero(source);
        _topKAdd ??= Kernel(TopKSource, "topk_add");
        _topKAdd.Launch(_stream, DivideUp(destination.Count, TopKWire.Chunk), Threads, 0, source, kept, weight, destination, destination.Count);
    }
}
