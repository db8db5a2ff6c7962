// The hash of weights on CUDA: one pass over the exact masters, so that a step need not bring the weights to the host to compare them.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    CudaKernel? _hashHalves, _hashFloat32;

    /// <inheritdoc cref="IOps.HashWeights"/>
    public void HashWeights(Tensor weight, Tensor low, long first, nint hash)
    {
        Shape.Holds(weight.IsContiguous, "no gaps", weight);
        ArgumentOutOfRangeException.ThrowIfZero(hash);
        int blocks = DivideUp(weight.Count, Chunk * Threads);
        if (low.IsEmpty)
        {
            Shape.IsType(weight, ElementType.Float32);
            _hashFloat32 ??= Kernel("hash.cu", "hash_weights_fp32");
            _hashFloat32.Launch(_stream, blocks, Threads, 0, weight, hash, first, weight.Count);
            return;
        }

        Shape.IsType(weight, ElementType.BFloat16);
        Shape.Is(low, ElementType.Low16, weight.Rows, weight.Columns);
        Shape.Holds(low.IsContiguous, "no gaps", low);
        _hashHalves ??= Kernel("hash.cu", "hash_weights");
        _hashHalves.Launch(_stream, blocks, Threads, 0, weight, low, hash, first, weight.Count);
    }
}
