// The two products of a boundary, with what stands directly before or after them:                       ResBM, arXiv:2604.11947
//   encode  z = x*W4^T + a[0:Z]        W4 [Z,C];  x = silu(f), for its gradient needs it too
//   decode  d = relu(z*Wd^T)           Wd [C,Z]
// The bits are those of a product, rounded, after (before) a copy (an activation) of its own.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>code[R,Z] = x[R,C] * weight[Z,C]^T + residual[R,Z], a view of any stride.</summary>
    void CodeEncode(Tensor x, Tensor weight, Tensor residual, Tensor code);

    /// <summary>output[R,C] = max(code[R,Z] * weight[C,Z]^T, 0). Whether a NaN stays one is the device's choice.</summary>
    void CodeDecode(Tensor code, Tensor weight, Tensor output);
}
