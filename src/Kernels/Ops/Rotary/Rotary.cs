// Rotary position embedding, the Hugging Face half-split layout: for i < D/2 and angle = position * base^(-2i/D)
//   x[i]' = x[i]*cos - x[i+D/2]*sin,   x[i+D/2]' = x[i+D/2]*cos + x[i]*sin          arXiv:2104.09864
// The inverse rotation is the gradient. Queries and keys are rotated in place inside the packed [q | k | v] rows.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>Fills table[positions, D] Float32: D/2 cosines, then D/2 sines (angles computed in double).</summary>
    void RotaryTable(Tensor table, double rotaryBase);

    /// <summary>Rotates the first H+G heads of every row of qkv[B*T, (H+2G)*D] in place; row b*T+t has the position
    /// startPosition+t. <paramref name="inverse"/> rotates back (the gradient).</summary>
    void Rotary(Tensor qkv, Tensor table, AttentionShape shape, int startPosition, bool inverse);
}
