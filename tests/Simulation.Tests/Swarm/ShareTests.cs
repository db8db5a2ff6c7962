// A share leaves before it is asked for. Between that and the reduction that asks for it anything may happen to those that give
// and take it: each fault is put into that gap, at the giver and at the taker. SwarmChecks hold every applied sum to exactly
// once and to the single process's weights; copies of shares stray for seconds, into other steps and lives.
using System.Globalization;
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public class ShareTests(ITestOutputHelper output)
{
    static SwarmOptions Shape(ulong seed, int stages, int replicas) => new()
    {
        Seed = seed,
        Stages = stages,
        Replicas = replicas,
        Microbatches = 4 * replicas + 1,
        Steps = 6,
        CheckpointEvery = 2,
        FaultSeconds = 60,
        ServiceSeconds = [.. Enumerable.Range(0, stages * replicas).Select(i => 0.1 + 0.03 * (i % 3))],
        RoundTripSeconds = 0.06,
    };

    readonly record struct Gap(double From, double To, int Giver, int Taker);

    // From the first arrival of a step's early share to the taker's Reduce.
    static List<Gap> Gaps(SwarmOptions options)
    {
        var lines = new List<string>();
        Assert.True(SwarmSimulation.Run(options, lines.Add, out _).IsSuccess);
        var gaps = new List<Gap>();
        var open = new Dictionary<int, (double At, int Giver)>();
        foreach (string line in lines)
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length < 5 || words[2] != "->")
                continue;
            double at = double.Parse(words[0], CultureInfo.InvariantCulture);
            int taker = int.Parse(words[3], CultureInfo.InvariantCulture);
            if (words[4] == "gradient")
                open.TryAdd(taker, (at, int.Parse(words[1], CultureInfo.InvariantCulture)));
            else if (words[4] == "Reduce" && open.Remove(taker, out (double At, int Giver) share))
                gaps.Add(new Gap(share.At, at, share.Giver, taker));
        }
        return gaps;
    }

    [Theory]
    [InlineData((int)FaultKinds.Crash)]
    [InlineData((int)FaultKinds.Hang)]
    [InlineData((int)FaultKinds.ComputeHang)]
    [InlineData((int)FaultKinds.LinkBreak)]
    [InlineData((int)FaultKinds.BlackholeOut)]
    [InlineData((int)FaultKinds.BlackholeIn)]
    [InlineData((int)FaultKinds.OrchestratorCrash)]
    [InlineData((int)FaultKinds.Drain)]
    [InlineData((int)FaultKinds.Slow)]
    public void Fault_BetweenAnEarlyShareAndItsReduction_EveryContributionCountsOnce(int fault)
    {
        int struck = 0;
        foreach ((int stages, int replicas) in ((int, int)[])[(1, 2), (2, 2), (2, 3), (3, 2)])
        {
            for (ulong seed = 1; seed <= 3; seed++)
            {
                SwarmOptions options = Shape(seed, stages, replicas);
                foreach (Gap gap in Gaps(options).Where(gap => gap.To - gap.From > 0.005).Take(6))
                {
                    foreach (int node in (int[])[gap.Giver, gap.Taker])
                    {
                        foreach (FaultKinds copies in (FaultKinds[])[FaultKinds.None, FaultKinds.Duplicates])
                        {
                            SwarmOptions hurt = options with { Faults = copies, Script = [((gap.From + gap.To) / 2, (FaultKinds)fault, node)] };
                            SwarmOutcome outcome = SwarmSimulation.Run(hurt, null, out SwarmWorld world);
                            Assert.True(outcome.IsSuccess, $"{stages} x {replicas} seed {seed}, {(FaultKinds)fault} of {node} at {hurt.Script[0].Seconds}: {outcome.Failure}");
                            struck += world.FaultTimes.Count;
                        }
                    }
                }
            }
        }
        output.WriteLine($"{(FaultKinds)fault}: {struck} times");
        Assert.True(struck >= 100, $"only {struck} gaps were struck");
    }
}
