// The cases, one for each kernel; those of an idea lie in its folder under Ops/. Data are random, never zeros: constant operands
// make a card run faster than any training step would.
namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    /// <summary>One rounding to bf16, relative: half of the last of 7 fraction bits, at worst on a value of 1.</summary>
    const double Rounding = 1.0 / 256;

    /// <summary>One fp32 operation, relative.</summary>
    const double Single = 1.0 / (1 << 24);

    static readonly Dictionary<string, Action<KernelCase>> _all = new((KeyValuePair<string, Action<KernelCase>>[])
    [
        .. RmsNormCases, .. SwiGluCases, .. RotaryCases, .. EmbeddingCases, .. ClassifierCases, .. AttentionCases, .. AdamWCases,
        .. ReductionCases, .. ElementwiseCases, .. ActivationCases, .. CodeCases, .. MuonCases, .. ClipCases, .. HashCases, .. TopKCases,
    ]);

    public static IEnumerable<string> Names => _all.Keys;

    /// <param name="name">A kernel.</param>
    /// <param name="variant">Which shape to check, from 0 up to <see cref="KernelCase.Variants"/>.</param>
    /// <param name="size">0 to check; the scale of the large shape to time.</param>
    /// <param name="context">The device.</param>
    /// <param name="compiler">Its compiler.</param>
    /// <param name="stream">Where the kernel runs.</param>
    /// <param name="modules">Keeps what is loaded for the cases to come, whose owner ends it; null: each case loads and ends its own.</param>
    public static KernelCase Make(
        string name, int variant, int size, CudaContext context, CudaRuntimeCompiler compiler, CudaStream stream, Dictionary<string, CudaModule>? modules = null)
    {
        KernelCase made = new(context, compiler, stream, variant, size, modules);
        try
        {
            _all[name](made);
            return made;
        }
        catch
        {
            made.Dispose();
            throw;
        }
    }

    public static double[] Widen(ushort[] values) => Array.ConvertAll(values, v => (double)BitConverter.UInt32BitsToSingle((uint)v << 16));

    public static double[] Widen(float[] values) => Array.ConvertAll(values, v => (double)v);

    static int Blocks(long threads) => (int)((threads + 255) / 256);

    // Blocks of 256 for kernels in which a thread takes eight columns of a row.
    static int Blocks(int rows, int columns) => Blocks((long)rows * ((columns + 7) / 8));

    // What is timed is far larger than any cache: random numbers for all of it would take longer than the card does, so they repeat.
    const int Period = (1 << 20) + 7;

    // Uniform in [-scale, scale), as bf16 by truncation: data need no rounding.
    static ushort[] Random(int seed, int count, float scale = 1) =>
        Repeated(Array.ConvertAll(RandomFloats(seed, Math.Min(count, Period), scale), f => (ushort)(BitConverter.SingleToUInt32Bits(f) >> 16)), count);

    static float[] RandomFloats(int seed, int count, float scale = 1)
    {
        Random random = new(seed);
        float[] values = new float[Math.Min(count, Period)];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = scale * ((2 * random.NextSingle()) - 1);
        }

        return Repeated(values, count);
    }

    static T[] Repeated<T>(T[] values, int count)
    {
        if (count == values.Length)
        {
            return values;
        }

        T[] all = new T[count];
        for (int at = 0; at < count; at += values.Length)
        {
            values.AsSpan(0, Math.Min(values.Length, count - at)).CopyTo(all.AsSpan(at));
        }

        return all;
    }
}
