// Boundaries on CUDA: cuBLASLt adds the residual where it lies, and cuts the negative before it writes. A copy of R*Z elements and a pass
// of 4*R*C bytes over the decoded rows fall away.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    /// <inheritdoc cref="IOps.CodeEncode"/>
    public void CodeEncode(Tensor x, Tensor weight, Tensor residual, Tensor code)
    {
        Shape.Is(residual, ElementType.BFloat16, code.Rows, code.Columns);
        Product.Multiply(_stream, x, false, weight, true, residual, code, 1, 1);
    }

    /// <inheritdoc cref="IOps.CodeDecode"/>
    public void CodeDecode(Tensor code, Tensor weight, Tensor output) =>
        Product.Multiply(_stream, code, false, weight, true, output, output, 1, 0, relu: true);
}
