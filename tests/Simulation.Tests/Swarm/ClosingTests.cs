// What a step pays for distance: with everything else free of delay, each one-way delay d that lies on the path from the last
// backward to the last word of the commit shows as d.
//   contribution -> orchestrator -> Reduce -> (the shares are there) -> Reduced -> Commit: 4 d, and a share that is still under way
using System.Globalization;
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public class ClosingTests(ITestOutputHelper output)
{
    const double Delay = 0.022;

    static SwarmOptions Steady(ulong seed, int stages, int replicas) => new()
    {
        Seed = seed,
        Stages = stages,
        Replicas = replicas,
        Microbatches = 16 * replicas,
        Steps = 8,
        CheckpointEvery = 0,
        FaultSeconds = 300,
        ServiceSeconds = [.. Enumerable.Repeat(0.06, stages * replicas)],
        RoundTripSeconds = 2 * Delay,
    };

    [Theory]
    [InlineData(4, 2)]
    [InlineData(3, 3)]
    [InlineData(1, 2)]
    [InlineData(4, 1)]
    public void StepCloses_FromTheLastBackwardToTheLastCommit_FourOneWayDelays(int stages, int replicas)
    {
        var closings = new List<double>();
        for (ulong seed = 1; seed <= 5; seed++)
        {
            var lines = new List<string>();
            SwarmOutcome outcome = SwarmSimulation.Run(Steady(seed, stages, replicas), lines.Add, out _);
            Assert.True(outcome.IsSuccess, outcome.Failure);
            double lastBackward = 0, lastCommit = 0;
            foreach (string line in lines)
            {
                double at = double.Parse(line[..10], CultureInfo.InvariantCulture);
                if (line.Contains("Backward of step"))
                {
                    if (lastCommit > lastBackward)
                        closings.Add(lastCommit - lastBackward);
                    lastBackward = at;
                }
                if (line.Contains("Commit {"))
                    lastCommit = at;
            }
        }
        double[] delays = [.. closings.Select(c => c / Delay).Order()];
        output.WriteLine($"{stages} x {replicas}: a closing takes {delays[0]:F2} to {delays[^1]:F2} one-way delays ({delays.Length} steps), median {delays[delays.Length / 2]:F2}");
        Assert.True(delays.Length >= 30);
        Assert.InRange(delays[^1], 3.9, 4.3);
    }
}
