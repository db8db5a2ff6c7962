// c = alpha * op(a) * op(b) + beta * c,   op(x) = x or its transpose. 2*M*N*K FLOP.
// K is summed in a fixed order of blocks, so splitting M and N over threads does not change a bit.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>c[M,N] = alpha * op(a)[M,K] * op(b)[K,N] + beta * c. Views may be strided. c is not read when beta is 0.
    /// A linear layer with weight W [out, in]: y = x*W^T, dx = dy*W, dW += dy^T*x.</summary>
    void MatrixProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta);
}
