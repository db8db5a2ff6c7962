// swiglu.cu, rotary.cu, adamw.cu and reduction.cu against plain loops in double.
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class ElementKernelTests(SoftwareCuda cuda)
{
    // exp, the reciprocal and a handful of products in fp32, each within 2 units of the last place.
    const double FewSingles = 16 * Bf16.Single;

    [Theory]
    [InlineData(1, 8)]
    [InlineData(5, 40)]
    [InlineData(13, 136)]
    public void SwiGlu_ForwardAndBackward_MatchDouble(int rows, int width)
    {
        Random random = new(rows);
        ushort[] gateUp = Bf16.Random(random, rows * 2 * width, 4), gradient = Bf16.Random(random, rows * width);
        using var packed = cuda.Upload<ushort>(gateUp);
        using var output = cuda.Allocate<ushort>(gradient.Length);
        using var ds = cuda.Upload<ushort>(gradient);
        long chunks = (long)rows * width / 8;
        int blocks = (int)((chunks + 255) / 256);
        cuda.Kernel("swiglu.cu", "swiglu_forward").Launch(cuda.Stream, blocks, 256, 0, packed.Address, output.Address, width, chunks);
        cuda.Kernel("swiglu.cu", "swiglu_backward").Launch(cuda.Stream, blocks, 256, 0, packed.Address, ds.Address, width, chunks);

        double[] s = new double[rows * width], expected = new double[2 * rows * width];
        for (int i = 0; i < s.Length; i++)
        {
            int at = (i / width * 2 * width) + (i % width);
            double g = Bf16.To(gateUp[at]), u = Bf16.To(gateUp[at + width]), d = Bf16.To(gradient[i]);
            double sigmoid = 1 / (1 + Math.Exp(-g)), silu = g * sigmoid;
            s[i] = silu * u;
            expected[at] = d * u * (sigmoid + (silu * (1 - sigmoid)));
            expected[at + width] = d * silu;
        }

        Bf16.Close(s, Bf16.Widen(cuda.Download(output)), Bf16.Rounding + FewSingles, 0, "s");
        // sigmoid + silu*(1 - sigmoid) cancels near its zero (about g = -1.28), where its terms are below 1/4.
        Bf16.Close(expected, Bf16.Widen(cuda.Download(packed)), Bf16.Rounding + FewSingles, FewSingles * 4, "gradient");
        Bf16.Close(s, Bf16.Widen(cuda.Download(ds)), Bf16.Rounding + FewSingles, 0, "s again");
    }

    [Theory]
    [InlineData(1, 1, 1, 1, 16, 0)]
    [InlineData(2, 5, 3, 1, 64, 7)]
    [InlineData(1, 9, 4, 2, 128, 3)]
    public void Rotary_ForwardAndInverse_MatchDouble(int sequences, int tokens, int heads, int keyHeads, int width, int start)
    {
        AttentionShape shape = new(sequences, tokens, heads, keyHeads, width);
        Random random = new(tokens);
        int positions = start + tokens, half = width / 2, stride = shape.PackedColumns;
        float[] table = new float[positions * width];
        for (int p = 0; p < positions; p++)
        {
            for (int i = 0; i < half; i++)
            {
                (double sine, double cosine) = Math.SinCos(p * Math.Pow(500_000, -2.0 * i / width));
                table[(p * width) + i] = (float)cosine;
                table[(p * width) + half + i] = (float)sine;
            }
        }

        ushort[] x = Bf16.Random(random, shape.Rows * stride);
        using var qkv = cuda.Upload<ushort>(x);
        using var angles = cuda.Upload<float>(table);
        long chunks = (long)shape.Rows * (heads + keyHeads) * half / 8;
        void Turn(float sign) => cuda.Kernel("rotary.cu", "rotary").Launch(cuda.Stream, (int)((chunks + 255) / 256), 256, 0,
            qkv.Address, angles.Address, tokens, heads + keyHeads, stride, width, start, sign, chunks);

        Turn(1);
        double[] expected = Bf16.Widen(x);
        for (int r = 0; r < shape.Rows; r++)
        {
            for (int at = r * stride, head = 0; head < heads + keyHeads; head++, at += width)
            {
                for (int i = 0; i < half; i++)
                {
                    double c = table[(((r % tokens) + start) * width) + i], s = table[(((r % tokens) + start) * width) + half + i];
                    (double a, double b) = (expected[at + i], expected[at + i + half]);
                    (expected[at + i], expected[at + i + half]) = ((a * c) - (b * s), (b * c) + (a * s));
                }
            }
        }

        Bf16.Close(expected, Bf16.Widen(cuda.Download(qkv)), Bf16.Rounding, 4 * Bf16.Single, "turned");
        Turn(-1);
        // Back again: the rounding of the turned values spreads over both partners, then one more rounding.
        Bf16.Close(Bf16.Widen(x), Bf16.Widen(cuda.Download(qkv)), Bf16.Rounding, 3 * Bf16.Rounding, "turned back");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(1003)]
    public void AdamW_WithLowWord_FollowsTheExactMaster(int count)
    {
        Random random = new(count);
        float[] master = [.. Enumerable.Range(0, count).Select(_ => (float)((2 * random.NextDouble()) - 1))];
        float[] gradient = [.. master.Select(_ => (float)((2 * random.NextDouble()) - 1))];
        double[] expected = Bf16.Widen(master), m = new double[count], v = new double[count];
        using var weight = cuda.Upload<ushort>([.. master.Select(w => BFloat16.Split(w).High)]);
        using var low = cuda.Upload<ushort>([.. master.Select(w => BFloat16.Split(w).Low)]);
        using var g = cuda.Upload<float>(gradient);
        using var dm = cuda.Upload<float>(new float[count]);
        using var dv = cuda.Upload<float>(new float[count]);
        using var scale = cuda.Upload<float>([0.5f]);
        const int Steps = 3;
        for (int t = 1; t <= Steps; t++)
        {
            using var settings = Settings(t, rate: 0.01f);
            cuda.Kernel("adamw.cu", "adamw").Launch(cuda.Stream, (count + 1023) / 1024, 256, 0,
                weight.Address, low.Address, g.Address, dm.Address, dv.Address, settings.Address, scale.Address, (long)count);
            for (int i = 0; i < count; i++)
            {
                double gi = gradient[i] * 0.5;
                m[i] = (0.9 * m[i]) + (0.1 * gi);
                v[i] = (0.95 * v[i]) + (0.05 * gi * gi);
                expected[i] = (expected[i] * (1 - (0.01 * 0.1))) - (0.01 * (m[i] / (1 - Math.Pow(0.9, t))) / (Math.Sqrt(v[i] / (1 - Math.Pow(0.95, t))) + 1e-8));
            }

            cuda.Stream.Synchronize();
        }

        ushort[] high = cuda.Download(weight), words = cuda.Download(low);
        double[] actual = [.. high.Select((h, i) => (double)BFloat16.Join(h, words[i]))];
        // Per step: the decayed weight rounds twice, the update of at most about lr a dozen times.
        Bf16.Close(expected, actual, Steps * 2 * Bf16.Single, Steps * 0.01 * 32 * Bf16.Single, "master");
    }

    // At rate 0 an update is w*1 - 0*x, x not negative: every finite master, subnormals and both zeros too, must come out with the bits that went in.
    [Theory]
    [InlineData("adamw")]
    [InlineData("muon_update")]
    public void MasterInHalves_UpdateOfNothing_KeepsEveryBit(string kernel)
    {
        const int Rows = 24, Columns = 40, Count = Rows * Columns;
        Random random = new(24);
        float[] master = [0f, -0f, float.Epsilon, float.MaxValue, .. Enumerable.Range(0, Count - 4).Select(_ => Finite(random))];
        using var weight = cuda.Upload<ushort>([.. master.Select(w => BFloat16.Split(w).High)]);
        using var low = cuda.Upload<ushort>([.. master.Select(w => BFloat16.Split(w).Low)]);
        using var scale = cuda.Upload<float>([1f]);
        using var g = cuda.Upload<float>([.. master.Select(_ => random.NextSingle())]);
        using var m = cuda.Upload<float>(new float[Count]);
        using var v = cuda.Upload<float>(new float[Count]);
        using var direction = cuda.Upload<ushort>([.. Bf16.Random(random, Count).Select(x => (ushort)(x & 0x7FFF))]);
        using var ofAdamW = Settings(step: 1, rate: 0f);
        using var ofMuon = cuda.Upload<float>([0f, 0.95f, 0.1f]);
        if (kernel == "adamw")
        {
            cuda.Kernel("adamw.cu", kernel).Launch(cuda.Stream, (Count + 1023) / 1024, 256, 0,
                weight.Address, low.Address, g.Address, m.Address, v.Address, ofAdamW.Address, scale.Address, (long)Count);
        }
        else
        {
            cuda.Kernel("muon.cu", kernel).Launch(cuda.Stream, new((Columns + 31) / 32, (Rows + 31) / 32, 1), 256, 0,
                weight.Address, low.Address, direction.Address, ofMuon.Address, scale.Address, Rows, Columns);
        }

        ushort[] words = cuda.Download(low);
        uint[] after = [.. cuda.Download(weight).Select((high, i) => BitConverter.SingleToUInt32Bits(BFloat16.Join(high, words[i])))];
        Assert.Equal([.. master.Select(BitConverter.SingleToUInt32Bits)], after);
    }

    static float Finite(Random random)
    {
        float value;
        do
        {
            value = BitConverter.UInt32BitsToSingle((uint)random.NextInt64(1L << 32));
        }
        while (!float.IsFinite(value));
        return value;
    }

    [Fact]
    public void AdamW_StochasticRounding_IsUnbiasedAndIndependentOfTheLaunch()
    {
        const int Count = 4096;
        const float Start = 1.0f;
        ushort[] Run(int threads)
        {
            using var weight = cuda.Upload<ushort>([.. Enumerable.Repeat(Bf16.From(Start), Count)]);
            using var g = cuda.Upload<float>([.. Enumerable.Repeat(1f, Count)]);
            using var m = cuda.Upload<float>(new float[Count]);
            using var v = cuda.Upload<float>(new float[Count]);
            using var scale = cuda.Upload<float>([0.5f]);
            using var settings = Settings(1, rate: 0.001f, decay: 0);
            cuda.Kernel("adamw.cu", "adamw_stochastic").Launch(cuda.Stream, (Count + (4 * threads) - 1) / (4 * threads), threads, 0,
                weight.Address, g.Address, m.Address, v.Address, settings.Address, scale.Address, (long)Count);
            return cuda.Download(weight);
        }

        ushort[] wide = Run(256);
        Assert.Equal(wide, Run(32));
        double mean = wide.Average(Bf16.To);
        // 1 - 0.001 lies a quarter of the way from 1 to the next bf16 below, 1 - 2^-8: 1 or that, never another value.
        Assert.All(wide, w => Assert.True(Bf16.To(w) is 1.0 or 1 - Bf16.Rounding));
        double p = 0.001 / Bf16.Rounding, sigma = Bf16.Rounding * Math.Sqrt(p * (1 - p) / Count);
        Assert.InRange(mean, 0.999 - (4 * sigma), 0.999 + (4 * sigma));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16384)]
    [InlineData(40001)]
    public void SumOfSquares_AnyLength_MatchesDouble(int count)
    {
        Random random = new(count);
        float[] values = [.. Enumerable.Range(0, count).Select(_ => (float)((2 * random.NextDouble()) - 1))];
        int blocks = (count + 16383) / 16384;
        using var x = cuda.Upload<float>(values);
        using var partial = cuda.Allocate<double>(blocks);
        using var result = cuda.Allocate<double>(1);
        cuda.Kernel("reduction.cu", "sum_of_squares_fp32").Launch(cuda.Stream, blocks, 256, 0, x.Address, partial.Address, (long)count);
        cuda.Kernel("reduction.cu", "sum_partials").Launch(cuda.Stream, 1, 256, 0, partial.Address, result.Address, blocks);
        double expected = values.Sum(v => (double)v * v);
        Assert.Equal(expected, cuda.Download(result)[0], expected * count * Math.Pow(2, -52));
    }

    CudaSettings Settings(int step, float rate, float decay = 0.1f) => new(cuda, step, rate, decay);

    /// <summary>The struct Settings of adamw.cu in device memory.</summary>
    sealed class CudaSettings : IDisposable
    {
        readonly OrionNative.Kernels.Cuda.CudaDeviceVariable<uint> _words;

        public CudaSettings(SoftwareCuda cuda, int step, float rate, float decay)
        {
            float[] values = [rate, 0.9f, 0.95f, 1e-8f, decay, (float)(1 / (1 - Math.Pow(0.9, step))), (float)(1 / (1 - Math.Pow(0.95, step)))];
            _words = cuda.Upload<uint>([.. values.Select(BitConverter.SingleToUInt32Bits), (uint)step, 7u]);
        }

        public ulong Address => _words.Address;

        public void Dispose() => _words.Dispose();
    }
}
