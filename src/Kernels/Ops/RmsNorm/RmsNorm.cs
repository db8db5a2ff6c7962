// out = x * rstd * w,  rstd = 1/sqrt(mean(x*x) + eps)                                     RMSNorm, arXiv:1910.07467
// dx  = rstd * (w*dy - x * rstd^2 * mean(w*dy*x)),   dw += sum over rows of dy * x * rstd
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>output[R,C] = norm(x[R,C]) * weight[C]; rstd[R] Float32 is kept for backward. weight is [1,C].</summary>
    void RmsNormForward(Tensor x, Tensor weight, Tensor output, Tensor rstd, float epsilon);

    /// <summary>sum[R,C] = x + y;  output = norm(sum) * weight. sum may be x or y. The bits are those of an addition followed
    /// by <see cref="RmsNormForward"/>: a model cut between two blocks adds there and normalises on the other side.</summary>
    void AddRmsNormForward(Tensor x, Tensor y, Tensor weight, Tensor sum, Tensor output, Tensor rstd, float epsilon);

    /// <summary>gradX[R,C] = (or += when <paramref name="accumulate"/>) the gradient through the norm;
    /// gradWeight[C] (Float32) += its weight's. x is what the forward normalised. gradX may be gradOutput when not accumulating.</summary>
    void RmsNormBackward(Tensor gradOutput, Tensor x, Tensor weight, Tensor rstd, Tensor gradX, bool accumulate, Tensor gradWeight);
}
