// Residual adds and moves. Views may be strided (a code lives in the first Z columns of a wider row).
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>destination = 0.</summary>
    void Zero(Tensor destination);

    /// <summary>destination = source, converted to the destination's type (to BFloat16: round to nearest even).</summary>
    void Copy(Tensor source, Tensor destination);

    /// <summary>destination += source.</summary>
    void Add(Tensor source, Tensor destination);

    /// <summary>x *= factor.</summary>
    void Scale(Tensor x, float factor);
}
