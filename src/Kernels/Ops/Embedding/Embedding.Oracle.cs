// Embedding in plain double loops.
namespace OrionNative.Kernels;

static partial class Oracle
{
    public static double[] EmbeddingForward(int[] ids, double[] table, int width)
    {
        double[] output = new double[ids.Length * width];
        for (int i = 0; i < output.Length; i++)
        {
            output[i] = table[(ids[i / width] * width) + (i % width)];
        }

        return output;
    }

    /// <summary>Adds to gradTable.</summary>
    public static void EmbeddingBackward(int[] ids, double[] gradOutput, double[] gradTable, int width)
    {
        for (int i = 0; i < gradOutput.Length; i++)
        {
            gradTable[(ids[i / width] * width) + (i % width)] += gradOutput[i];
        }
    }
}
