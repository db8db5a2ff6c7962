// SwiGLU on CUDA: eight columns a thread, backward in place.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    CudaKernel? _swiGluForward, _swiGluBackward;

    /// <inheritdoc cref="IOps.SwiGluForward"/>
    public void SwiGluForward(Tensor gateUp, Tensor output)
    {
        _swiGluForward ??= Kernel("swiglu.cu", "swiglu_forward");
        LaunchSwiGlu(_swiGluForward, gateUp, output);
    }

    /// <inheritdoc cref="IOps.SwiGluBackward"/>
    public void SwiGluBackward(Tensor gateUp, Tensor gradOutput)
    {
        _swiGluBackward ??= Kernel("swiglu.cu", "swiglu_backward");
        LaunchSwiGlu(_swiGluBackward, gateUp, gradOutput);
    }

    void LaunchSwiGlu(CudaKernel kernel, Tensor gateUp, Tensor half)
    {
        Shape.IsType(half, ElementType.BFloat16);
        Shape.Is(gateUp, ElementType.BFloat16, half.Rows, 2 * half.Columns);
        Shape.Holds(gateUp.IsContiguous && half.IsContiguous, "rows without gaps", gateUp);
        RequireChunks(half);
        long chunks = half.Count / Chunk;
        Shape.Holds(chunks <= int.MaxValue, "at most 2^31 chunks of 8, which a thread counts in 32 bits", half);
        kernel.Launch(_stream, DivideUp(chunks, Threads), Threads, 0, gateUp, half, half.Columns, chunks);
    }
}
