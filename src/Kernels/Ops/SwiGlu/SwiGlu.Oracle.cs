// SwiGLU in plain double loops.
namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>output[R,F] from gateUp[R,2F].</summary>
    public static double[] SwiGluForward(double[] gateUp, int width)
    {
        double[] output = new double[gateUp.Length / 2];
        for (int i = 0; i < output.Length; i++)
        {
            int gate = (i / width * 2 * width) + (i % width);
            output[i] = Silu(gateUp[gate]) * gateUp[gate + width];
        }

        return output;
    }

    /// <summary>The gradient of sum(output * gradOutput) by gateUp.</summary>
    public static double[] SwiGluBackward(double[] gateUp, double[] gradOutput, int width)
    {
        double[] gradient = new double[gateUp.Length];
        for (int i = 0; i < gradOutput.Length; i++)
        {
            int gate = (i / width * 2 * width) + (i % width);
            gradient[gate] = gradOutput[i] * gateUp[gate + width] * SiluSlope(gateUp[gate]);
            gradient[gate + width] = gradOutput[i] * Silu(gateUp[gate]);
        }

        return gradient;
    }
}
