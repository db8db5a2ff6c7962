// Sums that the host reads, in double, over fixed chunks in index order: the same bits for any thread count.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>results[index] (Float64) = sum of x*x.</summary>
    void SumOfSquares(Tensor x, Tensor results, int index);

    /// <summary>results[index] (Float64) = sum of x.</summary>
    void Sum(Tensor x, Tensor results, int index);
}
