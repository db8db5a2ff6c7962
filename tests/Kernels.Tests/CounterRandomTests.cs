// Counter-based random numbers: the published vectors of Philox4x32-10, independence of how a range is cut, and moments.
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Tests;

public class CounterRandomTests
{
    [Theory]
    // known-answer vectors of the Random123 distribution: counter (c0,c1,c2,c3), key (k0,k1)
    [InlineData(0UL, 0UL, 0UL, 0x6627E8D5u, 0xE169C58Du, 0xBC57AC4Cu, 0x9B00DBD8u)]
    [InlineData(0xFFFFFFFFFFFFFFFFUL, 0xFFFFFFFFFFFFFFFFUL, 0xFFFFFFFFFFFFFFFFUL, 0x408F276Du, 0x41C83B0Eu, 0xA20BC7C6u, 0x6D5451FDu)]
    [InlineData(0x299F31D0A4093822UL, 0x0370734413198A2EUL, 0x85A308D3243F6A88UL, 0xD16CFE09u, 0x94FDCCEBu, 0x5001E420u, 0x24126EA1u)]
    public void Bits_PublishedVectors_AreReproduced(ulong seed, ulong stream, ulong index, uint a, uint b, uint c, uint d) =>
        Assert.Equal((a, b, c, d), new CounterRandom(seed, stream).Bits(index));

    [Fact]
    public void FillNormal_AnyCut_GivesTheSameNumbers()
    {
        CounterRandom random = new(7, CounterRandom.StreamOf("model.layers.3.self_attn.q_proj.weight"));
        float[] whole = new float[1001], cut = new float[1001];
        random.FillNormal(whole, 5, 0.02f);
        for (int start = 0, step = 1; start < cut.Length; start += step, step = (step % 13) + 1)
        {
            random.FillNormal(cut.AsSpan(start, Math.Min(step, cut.Length - start)), 5 + start, 0.02f);
        }

        Assert.Equal(whole, cut);
    }

    [Fact]
    public void Numbers_ManyDrawn_HaveTheirMoments()
    {
        const int count = 400_000;
        CounterRandom random = new(1, 2);
        float[] normal = new float[count];
        random.FillNormal(normal, 0, 2);
        double mean = normal.Average(x => (double)x), variance = normal.Average(x => (x - mean) * (x - mean));
        double fourth = normal.Average(x => Math.Pow(x - mean, 4)) / (variance * variance);
        // five standard errors: of the mean 2/sqrt(n), of the variance 4*sqrt(2/n), of the kurtosis sqrt(24/n)
        Assert.InRange(mean, -5 * 2 / Math.Sqrt(count), 5 * 2 / Math.Sqrt(count));
        Assert.InRange(variance - 4, -5 * 4 * Math.Sqrt(2.0 / count), 5 * 4 * Math.Sqrt(2.0 / count));
        Assert.InRange(fourth - 3, -5 * Math.Sqrt(24.0 / count), 5 * Math.Sqrt(24.0 / count));

        double[] uniform = [.. Enumerable.Range(0, count).Select(i => (double)random.Uniform(i))];
        Assert.All(uniform, x => Assert.InRange(x, 0, 1 - Math.ScaleB(1, -24)));
        Assert.InRange(uniform.Average() - 0.5, -5 * Math.Sqrt(1.0 / 12 / count), 5 * Math.Sqrt(1.0 / 12 / count));
    }

    [Fact]
    public void Streams_OfDifferentNames_Differ()
    {
        float[] a = new float[64], b = new float[64];
        new CounterRandom(1, CounterRandom.StreamOf("a")).FillNormal(a, 0, 1);
        new CounterRandom(1, CounterRandom.StreamOf("b")).FillNormal(b, 0, 1);
        Assert.Equal(64, a.Zip(b).Count(pair => pair.First != pair.Second));
    }
}
