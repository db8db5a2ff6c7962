// The clip on the CPU: a few hundred additions.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    /// <inheritdoc cref="IOps.ClipScale"/>
    public void ClipScale(Tensor squares, Tensor losses, double limit, Tensor totals, Tensor scale)
    {
        GradientClip.Check(squares, losses, totals, scale);
        double norm = Math.Sqrt(InOrder(squares)), loss = InOrder(losses);
        ((double*)totals.Address)[0] = norm;
        ((double*)totals.Address)[1] = loss;
        *(float*)scale.Address = double.IsFinite(norm) && double.IsFinite(loss) ? (float)GradientClip.Scale(norm, limit) : GradientClip.MovesNothing;
    }

    static double InOrder(Tensor terms)
    {
        double sum = 0;
        foreach (double term in new ReadOnlySpan<double>((void*)terms.Address, checked((int)terms.Count)))
        {
            sum += term;
        }

        return sum;
    }
}
