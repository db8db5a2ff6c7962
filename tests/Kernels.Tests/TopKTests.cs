// Top-k and its error feedback: every device makes the bytes and the error of the definition, to the bit; what a wire does not say
// is put off, not lost; and the hash of weights sees every bit and every place.
using FsCheck.Fluent;
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class TopKTests
{
    [Theory, Devices]
    public void Pack_AnyVector_GivesTheBytesAndErrorOfTheDefinition(string device) => Law.Holds(Prop.ForAll(
        Gen.Choose(1, 9000).ToArbitrary(), Gen.Elements(4, 64, 100, 512).ToArbitrary(), (count, kept) =>
        {
            using Workbench bench = new(device, seed: count);
            double[] x = bench.Normal(count), error = bench.Normal(count, 0.1);
            for (int i = 0; i < count; i += 3)
            {
                // ties, zeros and both signs
                (x[i], error[i]) = (Math.Round(2 * x[i]) / 2, 0);
            }

            (byte[] wire, float[] stays) = Oracle.TopKPack(Floats(x), Floats(error), 0.9f, kept);
            Tensor left = bench.Single(error, 1, count);
            nint packed = bench.Scratch(TopKWire.Bytes(count, kept));
            bench.Ops.TopKPack(bench.Single(x, 1, count), left, 0.9f, kept, packed);
            Assert.Equal(wire, bench.Bytes(packed, wire.Length));
            Assert.Equal(stays, Floats(bench.Get(left)));

            Tensor sum = bench.Single(x, 1, count);
            bench.Ops.TopKAdd(packed, kept, 0.5f, sum);
            float[] said = Oracle.TopKUnpack(wire, kept, count);
            Assert.Equal([.. x.Select((value, i) => said[i] == 0 ? (float)value : MathF.FusedMultiplyAdd(0.5f, said[i], (float)value))], Floats(bench.Get(sum)));
        }), cases: 12);

    // Without decay, what was sent plus what waits is what was given; each round adds one rounding of the error's size.
    [Fact]
    public void Pack_ManyRounds_LosesNothing()
    {
        const int Count = 5000, Rounds = 40, Kept = 64;
        Random random = new(1);
        double[] given = new double[Count], sent = new double[Count];
        float[] error = new float[Count];
        double largest = 0;
        for (int round = 0; round < Rounds; round++)
        {
            float[] x = [.. Enumerable.Range(0, Count).Select(_ => (float)((2 * random.NextDouble()) - 1))];
            (byte[] wire, error) = Oracle.TopKPack(x, error, 1, Kept);
            float[] said = Oracle.TopKUnpack(wire, Kept, Count);
            for (int i = 0; i < Count; i++)
            {
                given[i] += x[i];
                sent[i] += said[i];
                largest = Math.Max(largest, Math.Abs(error[i]) + Math.Abs(said[i]));
            }
        }

        Assert.All(given, (value, i) => Assert.Equal(value, sent[i] + error[i], 2 * Rounds * largest * Math.ScaleB(1, -24)));
    }

    // A kept value lies within a quarter of the chunk's range of what is said of it, and one rounding of each bound.
    [Fact]
    public void Pack_KeptValues_AreAQuarterOfTheRangeOffAtMost()
    {
        const int Kept = 128;
        Random random = new(2);
        float[] x = [.. Enumerable.Range(0, TopKWire.Chunk).Select(_ => (float)((2 * random.NextDouble()) - 1))];
        (byte[] wire, float[] error) = Oracle.TopKPack(x, new float[x.Length], 1, Kept);
        float[] said = Oracle.TopKUnpack(wire, Kept, x.Length);
        float[] sizes = [.. x.Select(Math.Abs).OrderDescending().Take(Kept)];
        Assert.Equal(Kept, said.Count(value => value != 0));
        Assert.All(said, (value, i) => Assert.True(value == 0 || Math.Abs(error[i]) <= ((sizes[0] - sizes[^1]) / 4) + (sizes[0] / 128)));
        Assert.All(x, (value, i) => Assert.True(said[i] != 0 || Math.Abs(value) <= sizes[^1]));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(6)]
    [InlineData(516)]
    public void Kept_NotAllowed_IsRefused(int kept) =>
        Assert.Contains("multiple of 4 from 4 to 512", Assert.Throws<ArgumentOutOfRangeException>(() => TopKWire.RequireKept(kept)).Message, StringComparison.Ordinal);

    [Theory, Devices]
    public void Hash_OfADevice_IsTheHashOfTheMasters(string device)
    {
        foreach (int count in (int[])[1, 13, 4096, 200_003])
        {
            using Workbench bench = new(device);
            double[] weights = bench.Normal(count);
            nint hash = bench.Scratch(8);
            bench.Device.Upload(new byte[8], hash);
            bench.Ops.HashWeights(bench.Single(weights, 1, count), default, 5, hash);
            Assert.Equal(WeightHash.Of(Floats(weights), 5), BitConverter.ToUInt64(bench.Bytes(hash, 8)));
        }
    }

    [Fact]
    public void Hash_PiecesInAnyOrder_AndOneBitChanged()
    {
        Random random = new(3);
        float[] weights = [.. Enumerable.Range(0, 1000).Select(_ => (float)random.NextDouble())];
        ulong whole = WeightHash.Of(weights, 7);
        Assert.Equal(whole, WeightHash.Of(weights.AsSpan(300), 307) + WeightHash.Of(weights.AsSpan(0, 300), 7));
        HashSet<ulong> seen = [whole, WeightHash.Of(weights, 8)];
        for (int i = 0; i < weights.Length; i++)
        {
            float before = weights[i];
            weights[i] = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(before) ^ (1u << (i % 32)));
            Assert.True(seen.Add(WeightHash.Of(weights, 7)), $"bit {i % 32} of weight {i} is not seen");
            weights[i] = before;
        }

        (weights[0], weights[1]) = (weights[1], weights[0]);
        Assert.True(seen.Add(WeightHash.Of(weights, 7)), "an exchange is not seen");
    }

    // Weights of 0 leave the places alone: the outputs of splitmix64 from seed 0, which are published.
    [Fact]
    public void Hash_OfZeros_IsThePublishedGenerator() =>
        Assert.Equal(unchecked(0xE220A8397B1DCDAF + 0x6E789E6AA1B965F4), WeightHash.Of([0f, 0f], 0));

    static float[] Floats(double[] values) => Array.ConvertAll(values, v => (float)v);
}
