// Rotary embedding in plain double loops, angles included.
namespace OrionNative.Kernels;

static partial class Oracle
{
    /// <summary>Rotates the first H+G heads of every row in place.</summary>
    public static void Rotary(double[] qkv, AttentionShape shape, double rotaryBase, int startPosition, bool inverse)
    {
        int half = shape.HeadWidth / 2;
        for (int row = 0; row < shape.Rows; row++)
        {
            for (int head = 0; head < shape.QueryHeads + shape.KeyValueHeads; head++)
            {
                for (int i = 0; i < half; i++)
                {
                    double angle = (startPosition + (row % shape.Tokens)) * Math.Pow(rotaryBase, -2.0 * i / shape.HeadWidth);
                    (double sin, double cos) = Math.SinCos(inverse ? -angle : angle);
                    int low = (row * shape.PackedColumns) + (head * shape.HeadWidth) + i, high = low + half;
                    (qkv[low], qkv[high]) = ((qkv[low] * cos) - (qkv[high] * sin), (qkv[high] * cos) + (qkv[low] * sin));
                }
            }
        }
    }
}
