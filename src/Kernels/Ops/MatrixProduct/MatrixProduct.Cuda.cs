// Products on CUDA: cuBLASLt with a plan a shape. Operands are of one type, BFloat16 or Float32; sums are fp32 and rounded once.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    CublasLt? _product;

    /// <inheritdoc cref="IOps.MatrixProduct"/>
    public void MatrixProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta)
    {
        _product ??= new CublasLt(_context);
        _product.Multiply(_stream, a, transposeA, b, transposeB, c, alpha, beta);
    }
}
