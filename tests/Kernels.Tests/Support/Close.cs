// Comparisons with a stated bound. A bound is a formula: roundings times the unit of the type times the size of what was added.
namespace OrionNative.Kernels.Tests.Support;

static class Close
{
    /// <summary>|actual - expected| is at most bound(i) at every index.</summary>
    public static void Within(double[] expected, double[] actual, Func<int, double> bound, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            double error = Math.Abs(actual[i] - expected[i]);
            if (!(error <= bound(i)))
            {
                Assert.Fail($"{what}[{i}]: expected {expected[i]:R} within {bound(i):E2}, found {actual[i]:R}, off by {error:E2}");
            }
        }
    }

    /// <summary>The gradient of a loss agrees with central differences: (f(x+h) - f(x-h)) / 2h, h = 2^-17. The difference is off
    /// by about h^2 of the third derivative and by 2^-52*|f|/h, together below 1e-8 of the sizes involved.</summary>
    public static void CentralDifferences(Func<double[], double> loss, double[] at, double[] gradient, string what)
    {
        const double h = 1.0 / (1 << 17);
        double[] x = (double[])at.Clone();
        double[] differences = new double[x.Length];
        double largestLoss = 1;
        for (int i = 0; i < x.Length; i++)
        {
            x[i] = at[i] + h;
            double above = loss(x);
            x[i] = at[i] - h;
            double below = loss(x);
            x[i] = at[i];
            differences[i] = (above - below) / (2 * h);
            largestLoss = Math.Max(largestLoss, Math.Abs(above));
        }

        double size = largestLoss + gradient.Max(Math.Abs);
        Within(differences, gradient, _ => 1e-8 * size, what);
    }

    /// <summary>The scalar product: a loss whose gradient by a is b.</summary>
    public static double Dot(double[] a, double[] b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += a[i] * b[i];
        }

        return sum;
    }
}
