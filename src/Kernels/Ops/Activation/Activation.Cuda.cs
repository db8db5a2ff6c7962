// The activations on CUDA: bf16 views of any stride, one pass.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string ActivationSource = "activation.cu";

    CudaKernel? _siluForward, _siluBackward, _reluForward, _reluBackward;

    /// <inheritdoc cref="IOps.SiluForward"/>
    public void SiluForward(Tensor x, Tensor output) => Activate(_siluForward ??= Kernel(ActivationSource, "silu_forward"), x, output);

    /// <inheritdoc cref="IOps.ReluForward"/>
    public void ReluForward(Tensor x, Tensor output) => Activate(_reluForward ??= Kernel(ActivationSource, "relu_forward"), x, output);

    /// <inheritdoc cref="IOps.SiluBackward"/>
    public void SiluBackward(Tensor x, Tensor gradOutput, Tensor gradX) =>
        ActivateBackward(_siluBackward ??= Kernel(ActivationSource, "silu_backward"), x, gradOutput, gradX);

    /// <inheritdoc cref="IOps.ReluBackward"/>
    public void ReluBackward(Tensor output, Tensor gradOutput, Tensor gradX) =>
        ActivateBackward(_reluBackward ??= Kernel(ActivationSource, "relu_backward"), output, gradOutput, gradX);

    void Activate(CudaKernel kernel, Tensor x, Tensor output)
    {
        Shape.IsType(x, ElementType.BFloat16);
        Shape.Is(output, ElementType.BFloat16, x.Rows, x.Columns);
        LaunchPair(kernel, x, output);
    }

    void ActivateBackward(CudaKernel kernel, Tensor kept, Tensor gradOutput, Tensor gradX)
    {
        Shape.IsType(kept, ElementType.BFloat16);
        Shape.Is(gradOutput, ElementType.BFloat16, kept.Rows, kept.Columns);
        Shape.Is(gradX, ElementType.BFloat16, kept.Rows, kept.Columns);
        kernel.Launch(
            _stream, BlocksOf(kept), Threads, 0, kept, kept.Stride, gradOutput, gradOutput.Stride, gradX, gradX.Stride, kept.Rows, kept.Columns);
    }
}
