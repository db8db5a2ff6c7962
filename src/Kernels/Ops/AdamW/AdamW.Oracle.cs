// AdamW by its formula, one parameter after the other.
namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>One step in place on weight, m and v.</summary>
    public static void AdamW(double[] weight, double[] gradient, double[] m, double[] v, AdamWStep step, double scale)
    {
        double beta1 = step.Beta1, beta2 = step.Beta2;
        for (int i = 0; i < weight.Length; i++)
        {
            double g = gradient[i] * scale;
            m[i] = (beta1 * m[i]) + ((1 - beta1) * g);
            v[i] = (beta2 * v[i]) + ((1 - beta2) * g * g);
            double unbiasedM = m[i] / (1 - Math.Pow(beta1, step.Step));
            double unbiasedV = v[i] / (1 - Math.Pow(beta2, step.Step));
            weight[i] = (weight[i] * (1 - ((double)step.LearningRate * step.WeightDecay)))
                - (step.LearningRate * unbiasedM / (Math.Sqrt(unbiasedV) + step.Epsilon));
        }
    }
}
