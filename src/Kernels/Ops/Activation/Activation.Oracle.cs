// The activations and their slopes at one point.
namespace OrionNative.Kernels;

static partial class Oracle
{
    public static double Silu(double x) => x / (1 + Math.Exp(-x));

    public static double SiluSlope(double x)
    {
        double q = 1 / (1 + Math.Exp(-x));
        return q + (x * q * (1 - q));
    }

    public static double Relu(double x) => Math.Max(x, 0);

    public static double ReluSlope(double x) => x > 0 ? 1 : 0;
}
