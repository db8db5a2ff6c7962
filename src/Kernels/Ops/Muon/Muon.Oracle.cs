// Muon by its formula, with whole matrices in double.
namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>One step in place on weight and momentum, [rows, columns].</summary>
    public static void Muon(double[] weight, double[] gradient, double[] momentum, int rows, int columns, MuonStep step, double scale)
    {
        double[] update = new double[weight.Length];
        for (int i = 0; i < weight.Length; i++)
        {
            double g = gradient[i] * scale;
            momentum[i] = (step.Momentum * momentum[i]) + g;
            update[i] = g + (step.Momentum * momentum[i]);
        }

        double[] x = Orthogonalize(update, rows, columns);
        double size = 0.2 * Math.Sqrt(Math.Max(rows, columns));
        for (int i = 0; i < weight.Length; i++)
        {
            weight[i] = (weight[i] * (1 - ((double)step.LearningRate * step.WeightDecay))) - (step.LearningRate * size * x[i]);
        }
    }

    /// <summary>Five Newton-Schulz steps towards the nearest (semi-)orthogonal matrix.</summary>
    public static double[] Orthogonalize(double[] matrix, int rows, int columns)
    {
        bool tall = rows > columns;
        int m = Math.Min(rows, columns), n = Math.Max(rows, columns);
        double norm = Math.Sqrt(matrix.Sum(value => value * value)) + 1e-7;
        double[] x = new double[matrix.Length];
        for (int i = 0; i < x.Length; i++)
        {
            x[i] = matrix[tall ? (i % n * columns) + (i / n) : i] / norm;
        }

        for (int iteration = 0; iteration < 5; iteration++)
        {
            double[] a = new double[m * m];
            double[] b = new double[m * m];
            double[] next = (double[])x.Clone();
            MatrixProduct(x, false, x, true, a, m, m, n, 1, 0);
            Array.Copy(a, b, a.Length);
            MatrixProduct(a, false, a, false, b, m, m, m, 2.0315, -4.7750);
            MatrixProduct(b, false, x, false, next, m, n, m, 1, 3.4445);
            x = next;
        }

        double[] result = new double[matrix.Length];
        for (int i = 0; i < x.Length; i++)
        {
            result[tall ? (i % n * columns) + (i / n) : i] = x[i];
        }

        return result;
    }
}
