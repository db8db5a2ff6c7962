// The matrix product in plain double loops.
namespace OrionNative.Kernels;

/// <summary>Every operation once more, slow and obviously right: double precision, row-major arrays without gaps.</summary>
static partial class Oracle
{
    /// <summary>c[m,n] = alpha * op(a)[m,k] * op(b)[k,n] + beta * c.</summary>
    public static void MatrixProduct(double[] a, bool transposeA, double[] b, bool transposeB, double[] c, int m, int n, int k, double alpha, double beta)
    {
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = 0;
                for (int p = 0; p < k; p++)
                {
                    sum += (transposeA ? a[(p * m) + i] : a[(i * k) + p]) * (transposeB ? b[(j * k) + p] : b[(p * n) + j]);
                }

                c[(i * n) + j] = (alpha * sum) + (beta == 0 ? 0 : beta * c[(i * n) + j]);
            }
        }
    }
}
