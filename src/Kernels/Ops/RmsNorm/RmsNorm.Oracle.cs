// RMSNorm in plain double loops.
namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>output[R,C] = norm(x) * weight, and rstd[R].</summary>
    public static (double[] Output, double[] Rstd) RmsNormForward(double[] x, double[] weight, double epsilon)
    {
        int columns = weight.Length;
        double[] output = new double[x.Length];
        double[] rstd = new double[x.Length / columns];
        for (int row = 0; row < rstd.Length; row++)
        {
            double squares = 0;
            for (int i = 0; i < columns; i++)
            {
                squares += x[(row * columns) + i] * x[(row * columns) + i];
            }

            rstd[row] = 1 / Math.Sqrt((squares / columns) + epsilon);
            for (int i = 0; i < columns; i++)
            {
                output[(row * columns) + i] = x[(row * columns) + i] * rstd[row] * weight[i];
            }
        }

        return (output, rstd);
    }

    /// <summary>The gradients of sum(output * gradOutput) by x and by weight.</summary>
    public static (double[] GradX, double[] GradWeight) RmsNormBackward(double[] gradOutput, double[] x, double[] weight, double epsilon)
    {
        int columns = weight.Length;
        double[] rstd = RmsNormForward(x, weight, epsilon).Rstd;
        double[] gradX = new double[x.Length];
        double[] gradWeight = new double[columns];
        for (int row = 0; row < rstd.Length; row++)
        {
            double mean = 0;
            for (int i = 0; i < columns; i++)
            {
                int at = (row * columns) + i;
                mean += weight[i] * gradOutput[at] * x[at] / columns;
                gradWeight[i] += gradOutput[at] * x[at] * rstd[row];
            }

            for (int i = 0; i < columns; i++)
            {
                int at = (row * columns) + i;
                gradX[at] = rstd[row] * ((weight[i] * gradOutput[at]) - (x[at] * rstd[row] * rstd[row] * mean));
            }
        }

        return (gradX, gradWeight);
    }
}
