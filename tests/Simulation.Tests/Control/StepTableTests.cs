// The contribution table against a plain model: a list of (peer, generation, microbatch).
using FsCheck;
using FsCheck.Fluent;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Control;

public class StepTableTests
{
    const int Stages = 2;
    const int Microbatches = 4;
    const int Peers = 5;

    static int StageOf(int peer) => peer % Stages;

    static PeerId Id(int peer) => PeerId.FromNumber(peer);

    [Fact]
    public void RandomContributionsAndLosses_AgainstPlainModel_CoveredAndExactAgree()
    {
        Gen<(int What, int Peer, int Microbatch)> action =
            from what in Gen.Choose(0, 9)
            from peer in Gen.Choose(0, Peers - 1)
            from microbatch in Gen.Choose(0, Microbatches - 1)
            select (what, peer, microbatch);
        Prop.ForAll(action.ArrayOf(40).ToArbitrary(), actions =>
        {
            var table = new StepTable(1, Stages, Microbatches);
            var model = new HashSet<(int Peer, int Microbatch)>();
            foreach ((int what, int peer, int microbatch) in actions)
            {
                if (what == 0)
                {
                    table.Remove(Id(peer));
                    model.RemoveWhere(c => c.Peer == peer);
                }
                else if (table.GenerationOf(Id(peer)) == 0)
                {
                    bool isNew = table.TryContribute(Id(peer), StageOf(peer), 0, microbatch, 1);
                    if (isNew != model.Add((peer, microbatch)))
                        return false;
                }
                int[] cover = [.. Enumerable.Range(0, Stages * Microbatches).Select(i => model.Count(c => StageOf(c.Peer) == i / Microbatches && c.Microbatch == i % Microbatches))];
                if (table.IsCovered != cover.All(c => c > 0) || table.IsExact != cover.All(c => c == 1))
                    return false;
            }
            return true;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void OverlappingSums_RebuildPlanFollowed_StepBecomesExact()
    {
        Prop.ForAll(Gen.Choose(0, int.MaxValue).ToArbitrary(), seed =>
        {
            var random = new SeededRandom((ulong)seed);
            var table = new StepTable(1, Stages, Microbatches);
            for (int peer = 0; peer < Peers; peer++)
            {
                for (int m = 0; m < Microbatches; m++)
                {
                    // The first peer of each stage contributes everything, so that the step is covered.
                    if (peer < Stages || random.NextChance(0.4))
                        table.TryContribute(Id(peer), StageOf(peer), 0, m, 1);
                }
            }
            foreach ((PeerId peer, int generation, MicrobatchSet keep) in table.RebuildPlan())
            {
                int stage = StageOf(Enumerable.Range(0, Peers).First(p => Id(p) == peer));
                for (int m = keep.Next(0); m >= 0; m = keep.Next(m + 1))
                    table.TryContribute(peer, stage, generation, m, 1);
            }
            return table.IsExact;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Shares_AnyOrderOfArrival_SameOrderOfSummation()
    {
        (int Peer, int Microbatch)[] contributions = [(0, 0), (0, 3), (2, 1), (4, 2), (1, 0), (1, 1), (3, 2), (3, 3)];
        string Listed(IEnumerable<(int Peer, int Microbatch)> order)
        {
            var table = new StepTable(1, Stages, Microbatches);
            foreach ((int peer, int microbatch) in order)
                table.TryContribute(Id(peer), StageOf(peer), 0, microbatch, 1);
            return string.Join(' ', table.Shares().Select(s => $"{s.Stage}:{s.Peer.Short}{s.Microbatches}"));
        }
        string expected = Listed(contributions);
        Assert.Equal(expected, Listed(contributions.Reverse()));
        Assert.Equal(expected, Listed(contributions.OrderBy(c => c.Microbatch)));
    }

    [Fact]
    public void OldGeneration_AfterRebuild_CountsNoMore()
    {
        var table = new StepTable(1, 1, 2);
        table.TryContribute(Id(0), 0, 0, 0, 1);
        table.TryContribute(Id(0), 0, 0, 1, 1);
        table.TryContribute(Id(1), 0, 0, 1, 1);
        (PeerId peer, int generation, MicrobatchSet keep) = Assert.Single(table.RebuildPlan());
        Assert.Equal((Id(1), 1, 0), (peer, generation, keep.Count));
        Assert.False(table.TryContribute(Id(1), 0, 0, 0, 1));
        Assert.True(table.IsExact);
    }
}
