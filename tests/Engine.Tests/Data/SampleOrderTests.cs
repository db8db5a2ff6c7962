using FsCheck;
using FsCheck.Fluent;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Tests.Data;

public class SampleOrderTests
{
    static readonly Arbitrary<(ulong Seed, int Samples, int PerStep)> _orders = Arb.From(
        from seed in Gen.Choose(0, int.MaxValue)
        from samples in Gen.OneOf(Gen.Choose(1, 70), Gen.Choose(71, 3000), Gen.Elements(255, 256, 257, 1024, 4097))
        from perStep in Gen.Choose(1, 40)
        select ((ulong)seed * 0x1_0000_0001, samples, perStep));

    [Fact]
    public void EveryPass_AnySizes_VisitsEverySampleOnce() => Prop.ForAll(_orders, order =>
    {
        var (seed, samples, perStep) = order;
        var tested = new SampleOrder(seed, samples, perStep);
        var seen = new int[3, samples];
        for (long drawn = 0; drawn < 3L * samples; drawn++)
            seen[tested.Pass(drawn / perStep, drawn % perStep), tested.At(drawn / perStep, drawn % perStep)]++;
        return seen.Cast<int>().All(times => times == 1);
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void StepSize_Differs_SameSequenceOfSamples() => Prop.ForAll(_orders, order =>
    {
        var (seed, samples, perStep) = order;
        var one = new SampleOrder(seed, samples, 1);
        var many = new SampleOrder(seed, samples, perStep);
        return Enumerable.Range(0, 2 * samples).All(drawn => one.At(drawn, 0) == many.At(drawn / perStep, drawn % perStep));
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void Passes_SameSeed_AreInDifferentOrder()
    {
        var order = new SampleOrder(7, 1000, 1);
        int same = Enumerable.Range(0, 1000).Count(i => order.At(i, 0) == order.At(1000 + i, 0));
        // Two independent permutations agree in 1 place on average (Poisson); 12 has probability below 1e-9.
        Assert.True(same < 12, $"{same} of 1000 samples are at the same place in two passes");
    }

    [Fact]
    public void EarlyDraws_ManySeeds_AreUniform()
    {
        const int samples = 1000, seeds = 20_000, bins = 20;
        var counts = new int[bins];
        for (ulong seed = 0; seed < seeds; seed++)
            counts[new SampleOrder(seed, samples, 1).At(3, 0) * bins / samples]++;
        double expected = (double)seeds / bins;
        double chiSquare = counts.Sum(count => (count - expected) * (count - expected) / expected);
        // 19 degrees of freedom: mean 19, standard deviation sqrt(38); 19 + 6 sigma is 56.
        Assert.InRange(chiSquare, 0, 19 + 6 * Math.Sqrt(38));
    }

    // The order is part of what a checkpoint promises: a change of it would resume on other samples. The values are from
    // a separate implementation of the equations in the file's header (tests/golden/sample_order.py).
    [Fact]
    public void Order_FixedSeed_IsStable()
    {
        string[] lines = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "golden", "sample_order.txt"));
        foreach (string line in lines.Where(line => line.Length > 0 && line[0] != '#'))
        {
            ulong[] numbers = [.. line.Split(' ').Select(ulong.Parse)];
            Assert.Equal((long)numbers[4], new SampleOrder(numbers[0], (long)numbers[1], 3).At((long)numbers[2], (long)numbers[3]));
        }
        Assert.True(lines.Length > 20);
    }

    [Fact]
    public void Index_BeyondTheStep_IsRefused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new SampleOrder(0, 10, 4).At(0, 4));
}
