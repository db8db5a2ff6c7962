// The even cut against every other cut, tried one by one, and the cuts that people know.
using FsCheck;
using FsCheck.Fluent;

namespace OrionNative.Engine.Tests.Run;

public class EvenCutTests
{
    [Fact]
    public void Blocks_AgainstEveryOtherCut_NoLargestStageIsSmallerAndNoneIsMoreEven()
    {
        Gen<(int Layers, int Stages, double Head)> inputs =
            from layers in Gen.Choose(1, 12)
            from stages in Gen.Choose(1, layers)
            from head in Gen.Choose(0, 160)
            select (layers, stages, head / 16.0);   // sixteenths: sums and squares are exact
        Prop.ForAll(inputs.ToArbitrary(), input =>
        {
            (int layers, int stages, double head) = input;
            int[] blocks = EvenCut.Blocks(layers, stages, head);
            (double Largest, double Squares) best = EveryCut(layers, stages).Min(cut => Judged(cut, head));
            return blocks.Length == stages && blocks.Sum() == layers && blocks.Min() >= 1 && Judged(blocks, head) == best;
        }).QuickCheckThrowOnFailure();
    }

    /// <summary>The largest stage, and between equals the sum of squares.</summary>
    static (double Largest, double Squares) Judged(int[] blocks, double head)
    {
        double[] costs = [.. blocks.Select((count, stage) => count + (stage == blocks.Length - 1 ? head : 0))];
        return (costs.Max(), costs.Sum(cost => cost * cost));
    }

    static IEnumerable<int[]> EveryCut(int layers, int stages) => stages == 1 ? [[layers]]
        : Enumerable.Range(1, layers - stages + 1).SelectMany(first => EveryCut(layers - first, stages - 1).Select(rest => (int[])[first, .. rest]));

    // with a light head it is the plain division, the longer stages in the middle
    [Theory]
    [InlineData(4, 4, 0.14, new[] { 1, 1, 1, 1 })]
    [InlineData(4, 3, 0.14, new[] { 1, 2, 1 })]
    [InlineData(7, 3, 0.5, new[] { 2, 3, 2 })]
    [InlineData(30, 4, 0.5, new[] { 7, 8, 8, 7 })]
    [InlineData(5, 1, 3, new[] { 5 })]
    [InlineData(32, 8, 2.2, new[] { 4, 4, 4, 5, 5, 4, 4, 2 })]
    public void Blocks_OfACutByHand_AreThese(int layers, int stages, double head, int[] expected) =>
        Assert.Equal(expected, EvenCut.Blocks(layers, stages, head));

    [Fact]
    public void Boundaries_Of8BInEightStages_LeaveTheLastLittleBesideItsHead()
    {
        ModelConfig model = ModelPresets.Get("8b");
        int[] edges = [0, .. EvenCut.Boundaries(model, 8, 256), model.Layers];
        double[] flop = [.. edges.Zip(edges.Skip(1), (first, end) => model.TrainingFlopPerToken(first, end, 256))];
        // four blocks each would leave the last at (4 + head) = 1.49 of the mean; seven stages cannot share 29 blocks or more with less than five
        const double Block = (4096.0 * 128 * 2 * (32 + 8)) + (3.0 * 4096 * 14_336) + (4096.0 * 256), Head = 128_256 * 4096.0;
        Assert.Equal(5 / ((32 + (Head / Block)) / 8), flop.Max() / flop.Average(), 1e-9);
    }

    [Fact]
    public void Boundaries_WithLongerSequences_WeighBlocksMore()
    {
        // at T = 16 a head of 1.7 blocks asks for a short last stage, at T = 8192 attention makes it a quarter of one
        ModelConfig model = new() { Layers = 4, Vocabulary = 2700, Context = 8192 };
        Assert.Equal([3], EvenCut.Boundaries(model, 2, 16));
        Assert.Equal([2], EvenCut.Boundaries(model, 2, 8192));
    }

    [Fact]
    public void Blocks_MoreStagesThanBlocks_NamesBoth()
    {
        var error = Assert.Throws<ConfigurationException>(() => EvenCut.Blocks(4, 5, 0));
        Assert.Contains("5 stages cannot share 4 blocks", error.Message);
    }
}
