// The cut against its oracle: every other cut, tried one by one.
using FsCheck;
using FsCheck.Fluent;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Control;

public class StageCutTests
{
    [Theory]
    [InlineData(7, 3)]
    [InlineData(30, 4)]
    [InlineData(90, 16)]
    [InlineData(1, 1)]
    public void EvenBlocks_AnyStages_EveryBlockOnceAndSlicesDifferByAtMostTwo(int blocks, int stages)
    {
        Assert.True(StageCut.TryCut(ModelCosts.Even(blocks), StageCapacity.Even(stages), out StageSlice[] slices, out _));
        new Placement(1, [.. slices], []).Check(blocks);
        int most = (blocks + stages - 1) / stages;
        Assert.Equal(most, slices.Max(s => s.BlockCount));
    }

    [Fact]
    public void HeavyEnds_EvenPeers_EndsGetFewerBlocks()
    {
        Assert.True(StageCut.TryCut(ModelCosts.Even(30, endCost: 3), StageCapacity.Even(4), out StageSlice[] slices, out _));
        Assert.True(slices[0].BlockCount < slices[1].BlockCount && slices[3].BlockCount < slices[2].BlockCount, string.Join(' ', slices));
    }

    [Fact]
    public void FastStage_UnevenPeers_GetsItsShare()
    {
        StageCapacity[] stages = [new(1, long.MaxValue), new(3, long.MaxValue)];
        Assert.True(StageCut.TryCut(ModelCosts.Even(8), stages, out StageSlice[] slices, out _));
        Assert.Equal([2, 6], slices.Select(s => s.BlockCount));
    }

    [Fact]
    public void MoreStagesThanBlocks_Refused_WithBothNumbers()
    {
        Assert.False(StageCut.TryCut(ModelCosts.Even(3), StageCapacity.Even(5), out _, out string reason));
        Assert.Contains("5 stages cannot hold 3 blocks", reason);
    }

    [Fact]
    public void TooLittleMemory_Refused_WithBothNumbers()
    {
        var model = new ModelCosts([1, 1, 1], [4_000_000_000, 4_000_000_000, 4_000_000_000], 0, 0, 0, 0);
        Assert.False(StageCut.TryCut(model, [new(1, 4_100_000_000), new(1, 4_100_000_000)], out _, out string reason));
        Assert.Contains("12.00 GB", reason);
        Assert.Contains("8.20 GB", reason);
    }

    [Fact]
    public void RandomCosts_AllCutsTried_NoneIsBetter()
    {
        Gen<(int[] Costs, int Stages, int Seed)> inputs =
            from count in Gen.Choose(1, 8)
            from costs in Gen.Choose(1, 20).ArrayOf(count)
            from stages in Gen.Choose(1, count)
            from seed in Gen.Choose(0, 1_000_000)
            select (costs, stages, seed);
        Prop.ForAll(inputs.ToArbitrary(), input =>
        {
            var random = new SeededRandom((ulong)input.Seed);
            var model = new ModelCosts([.. input.Costs.Select(c => (double)c)], [.. input.Costs.Select(c => (long)c)], random.NextBelow(10), 0, random.NextBelow(10), 0);
            StageCapacity[] stages = [.. Enumerable.Range(0, input.Stages).Select(_ => new StageCapacity(1 + random.NextBelow(4), 10 + random.NextBelow(80)))];
            double best = BestOfAll(model, stages, 0, 0);
            bool found = StageCut.TryCut(model, stages, out StageSlice[] slices, out _);
            return found
                ? Math.Abs(Worst(model, stages, slices) - best) < 1e-9 && slices.Sum(s => s.BlockCount) == model.BlockCount
                : double.IsPositiveInfinity(best);
        }).QuickCheckThrowOnFailure();
    }

    static double Worst(ModelCosts model, StageCapacity[] stages, StageSlice[] slices) =>
        slices.Select((s, i) => model.Bytes(s) > stages[i].MemoryBytes ? double.PositiveInfinity : model.Cost(s) / stages[i].Speed).Max();

    static double BestOfAll(ModelCosts model, StageCapacity[] stages, int stage, int begin)
    {
        if (stage == stages.Length)
            return begin == model.BlockCount ? 0 : double.PositiveInfinity;
        double best = double.PositiveInfinity;
        for (int count = 1; begin + count <= model.BlockCount; count++)
        {
            var slice = new StageSlice(begin, count);
            if (model.Bytes(slice) <= stages[stage].MemoryBytes)
                best = Math.Min(best, Math.Max(model.Cost(slice) / stages[stage].Speed, BestOfAll(model, stages, stage + 1, begin + count)));
        }
        return best;
    }
}
