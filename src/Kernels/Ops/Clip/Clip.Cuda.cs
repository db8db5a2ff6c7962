// The clip on CUDA: one block behind the norms, so that the optimizer follows without the host having seen either.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    CudaKernel? _clipScale;

    /// <inheritdoc cref="IOps.ClipScale"/>
    public void ClipScale(Tensor squares, Tensor losses, double limit, Tensor totals, Tensor scale)
    {
        GradientClip.Check(squares, losses, totals, scale);
        _clipScale ??= Kernel("clip.cu", "clip_scale");
        _clipScale.Launch(_stream, 1, Threads, 0, squares, (int)squares.Count, losses, (int)losses.Count, limit, totals, scale);
    }
}
