// Logits, softmax and cross-entropy written out for one row after the other.
namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>losses[R], and the gradients of gradientScale * sum of losses by hidden and by head.</summary>
    public static (double[] Losses, double[] GradHidden, double[] GradHead) Classifier(
        double[] hidden, double[] head, int[] targets, int width, int vocabulary, double gradientScale)
    {
        double[] losses = new double[targets.Length];
        double[] gradHidden = new double[hidden.Length];
        double[] gradHead = new double[head.Length];
        for (int row = 0; row < targets.Length; row++)
        {
            if (targets[row] < 0)
            {
                continue;
            }

            double[] p = new double[vocabulary];
            for (int v = 0; v < vocabulary; v++)
            {
                for (int i = 0; i < width; i++)
                {
                    p[v] += hidden[(row * width) + i] * head[(v * width) + i];
                }
            }

            double atTarget = p[targets[row]];
            losses[row] = Softmax(p) - atTarget;
            for (int v = 0; v < vocabulary; v++)
            {
                double gradient = gradientScale * (p[v] - (v == targets[row] ? 1 : 0));
                for (int i = 0; i < width; i++)
                {
                    gradHidden[(row * width) + i] += gradient * head[(v * width) + i];
                    gradHead[(v * width) + i] += gradient * hidden[(row * width) + i];
                }
            }
        }

        return (losses, gradHidden, gradHead);
    }

    /// <summary>Turns scores into probabilities and returns the logarithm of the sum of their exponentials.</summary>
    static double Softmax(double[] scores)
    {
        double max = scores.Max();
        double sum = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            scores[i] = Math.Exp(scores[i] - max);
            sum += scores[i];
        }

        for (int i = 0; i < scores.Length; i++)
        {
            scores[i] /= sum;
        }

        return max + Math.Log(sum);
    }
}
