// Products on CUDA: cuBLASLt with a plan a shape. Operands are of one type, BFloat16 or Float32; sums are fp32 and rounded once.
// A card times its algorithms; the software device takes the first, as its times mean nothing.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    CublasLt? _product;

    CublasLt Product => _product ??= new CublasLt(_context, _context.Libraries.IsSoftware ? null : new ProductChoices(CubinCache.DefaultFolder, $"{_context.DeviceName} cublasLt {_context.Libraries.CublasLt.Version}"));

    /// <inheritdoc cref="IOps.MatrixProduct"/>
    public void MatrixProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta) =>
        Product.Multiply(_stream, a, transposeA, b, transposeB, c, alpha, beta);
}
