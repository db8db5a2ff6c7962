// The case of rotary.cu: both directions, several sequences, a start beyond 0.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> RotaryCases => new() { ["rotary"] = Rotary };

    static void Rotary(KernelCase c)
    {
        const double Base = 500_000;
        (AttentionShape shape, int start, bool inverse) = c.Pick(
            (new AttentionShape(1, 16 * c.Size, 32, 8, 128), 0, false),
            (new(1, 1, 1, 1, 16), 0, false), (new(2, 5, 3, 1, 64), 7, false), (new(1, 9, 4, 2, 128), 3, true), (new(1, 3, 2, 1, 32), 0, true));
        int heads = shape.QueryHeads + shape.KeyValueHeads;
        ushort[] x = Random(1, shape.Rows * shape.PackedColumns);
        var (qkv, angles) = (c.Upload(x), c.Upload(RotaryAngles(start + shape.Tokens, shape.HeadWidth, Base)));
        long chunks = (long)shape.Rows * heads * shape.HeadWidth / 16;
        CudaKernel kernel = c.Kernel("rotary.cu", "rotary");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(chunks), 256, 0,
            qkv.Address, angles.Address, shape.Tokens, heads, shape.PackedColumns, shape.HeadWidth, start, inverse ? -1f : 1f, chunks));
        c.Shape = $"{Named(shape)} start {start}{(inverse ? " inverse" : "")}";
        c.Bytes = 4L * shape.Rows * heads * shape.HeadWidth;
        c.Flops = 3.0 * shape.Rows * heads * shape.HeadWidth;
        c.Results = () =>
        {
            double[] expected = Widen(x);
            Oracle.Rotary(expected, shape, Base, start, inverse);
            return [new("qkv", () => KernelCase.Widen(qkv), expected, Rounding, 4 * Single)];
        };
    }

    static float[] RotaryAngles(int positions, int width, double rotaryBase)
    {
        float[] table = new float[positions * width];
        int half = width / 2;
        for (int i = 0; i < table.Length / 2; i++)
        {
            (int position, int pair) = (i / half, i % half);
            (double sine, double cosine) = Math.SinCos(position * Math.Pow(rotaryBase, -2.0 * pair / width));
            (table[(position * width) + pair], table[(position * width) + half + pair]) = ((float)cosine, (float)sine);
        }

        return table;
    }

    static string Named(AttentionShape s) => $"B={s.Sequences} T={s.Tokens} H={s.QueryHeads} G={s.KeyValueHeads} D={s.HeadWidth}";
}
