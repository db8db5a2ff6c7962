// The factor that clips a gradient, worked out where the gradient lies, so that nobody waits between backward and the optimizer.
//   norm = sqrt(sum of squares)    loss = sum of losses    scale = min(1, limit/norm), or -1 where norm or loss is not finite
// Sums run in index order in double: the bits do not depend on the device, and a swarm that adds the same squares elsewhere has them too.
namespace OrionNative.Kernels;

/// <summary>The clip of a global gradient norm.</summary>
public static class GradientClip
{
    /// <summary>The scale at which an optimizer moves nothing: neither weights nor its own state.</summary>
    public const float MovesNothing = -1;

    /// <summary>The factor that brings a gradient of this norm down to the limit; 1 when it is below or the limit is 0.</summary>
    public static double Scale(double norm, double limit) => limit > 0 && norm > limit ? limit / norm : 1;

    internal static void Check(Tensor squares, Tensor losses, Tensor totals, Tensor scale)
    {
        Shape.IsVector(squares, ElementType.Float64, (int)squares.Count, operation: nameof(IOps.ClipScale));
        Shape.IsVector(losses, ElementType.Float64, (int)losses.Count, operation: nameof(IOps.ClipScale));
        Shape.IsVector(totals, ElementType.Float64, 2, operation: nameof(IOps.ClipScale));
        Shape.IsVector(scale, ElementType.Float32, 1, operation: nameof(IOps.ClipScale));
    }
}

public partial interface IOps
{
    /// <summary>totals = (norm, loss); scale = the clip of that norm, or <see cref="GradientClip.MovesNothing"/> where one of the two is
    /// not finite.</summary>
    /// <param name="squares">Float64: sum of squares of each tensor's gradient.</param>
    /// <param name="losses">Float64: sums of losses.</param>
    /// <param name="limit">Largest norm; 0 never clips.</param>
    /// <param name="totals">Two Float64.</param>
    /// <param name="scale">One Float32, which <see cref="AdamW"/> and <see cref="Muon"/> read.</param>
    void ClipScale(Tensor squares, Tensor losses, double limit, Tensor totals, Tensor scale);
}
