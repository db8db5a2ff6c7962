// Sums on CUDA: a block a fixed chunk of elements, then one block over the partial sums, all in double: the same bits on every card.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string ReductionSource = "reduction.cu";
    const int ReductionChunk = 16384;

    CudaKernel? _squaresFloat32, _squaresBFloat16, _sumFloat32, _sumBFloat16, _sumPartials;

    /// <inheritdoc cref="IOps.SumOfSquares"/>
    public void SumOfSquares(Tensor x, Tensor results, int index) => Reduce(
        x.Type == ElementType.BFloat16
            ? _squaresBFloat16 ??= Kernel(ReductionSource, "sum_of_squares_bf16")
            : _squaresFloat32 ??= Kernel(ReductionSource, "sum_of_squares_fp32"), x, results, index);

    /// <inheritdoc cref="IOps.Sum"/>
    public void Sum(Tensor x, Tensor results, int index) => Reduce(
        x.Type == ElementType.BFloat16
            ? _sumBFloat16 ??= Kernel(ReductionSource, "sum_bf16")
            : _sumFloat32 ??= Kernel(ReductionSource, "sum_fp32"), x, results, index);

    void Reduce(CudaKernel kernel, Tensor x, Tensor results, int index)
    {
        Shape.Holds(x.Type is ElementType.Float32 or ElementType.BFloat16 && x.IsContiguous, "Float32 or BFloat16 rows without gaps", x);
        Shape.IsType(results, ElementType.Float64);
        Shape.Holds((uint)index < (uint)results.Count, "a place for the result", results);
        int blocks = DivideUp(x.Count, ReductionChunk);
        nint partial = Workspace((long)sizeof(double) * blocks);
        kernel.Launch(_stream, blocks, Threads, 0, x, partial, x.Count);
        _sumPartials ??= Kernel(ReductionSource, "sum_partials");
        _sumPartials.Launch(_stream, 1, Threads, 0, partial, results.Address + (index * sizeof(double)), blocks);
    }
}
