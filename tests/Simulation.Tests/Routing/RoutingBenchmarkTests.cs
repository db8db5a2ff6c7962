// The claim of the pathfinder: less total time than both known policies on the 96-peer benchmark, median of five seeds.
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Routing;

public class RoutingBenchmarkTests(ITestOutputHelper output)
{
    [Fact]
    public void FiveSeeds_SameWorlds_PathfinderBeatsBothByTotalTime()
    {
        RoutingScore[] scores = RoutingContest.Run(RoutingContest.DefaultSeedCount);
        output.WriteLine(RoutingContest.Table(scores));
        Assert.True(scores[0].MedianSeconds < scores[1].MedianSeconds, "pathfinder is not faster than free-cache");
        Assert.True(scores[0].MedianSeconds < scores[2].MedianSeconds, "pathfinder is not faster than uniform");
    }
}
