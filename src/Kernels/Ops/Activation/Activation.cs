// The two activations of a boundary: silu(x) = x*sigmoid(x) before the encoder, relu after the decoder.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>output = silu(x); may be in place.</summary>
    void SiluForward(Tensor x, Tensor output);

    /// <summary>gradX = gradOutput * silu'(x); gradX may be gradOutput.</summary>
    void SiluBackward(Tensor x, Tensor gradOutput, Tensor gradX);

    /// <summary>output = max(x, 0); may be in place.</summary>
    void ReluForward(Tensor x, Tensor output);

    /// <summary>gradX = gradOutput where output > 0, else 0; gradX may be gradOutput.</summary>
    void ReluBackward(Tensor output, Tensor gradOutput, Tensor gradX);
}
