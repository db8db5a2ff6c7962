// s = silu(g) * u,   silu(g) = g * sigmoid(g);   rows are packed [g | u]                    SwiGLU, arXiv:2002.05202
// Backward works in place, so recomputing s costs no extra pass: dg,du land over g,u and s lands over ds.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>output[R,F] = silu(gateUp[:, 0..F]) * gateUp[:, F..2F].</summary>
    void SwiGluForward(Tensor gateUp, Tensor output);

    /// <summary>In: gateUp[R,2F] as in forward, gradOutput[R,F]. Out: gateUp holds its gradient, gradOutput holds the forward
    /// output s again (the down projection's weight gradient needs it).</summary>
    void SwiGluBackward(Tensor gateUp, Tensor gradOutput);
}
