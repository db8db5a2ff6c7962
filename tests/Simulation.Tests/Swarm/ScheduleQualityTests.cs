// What the schedule itself costs, undisturbed: against the time that any pipeline needs, and against a network without delay.
//   ideal = steps * (M/R + S - 1) * service          every pipeline fills and drains once a step
using System.Text.RegularExpressions;
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public partial class ScheduleQualityTests(ITestOutputHelper output)
{
    static SwarmOptions Undisturbed(int stages, int replicas, int microbatches, double roundTrip, double service = 0.2) => new()
    {
        Seed = 5,
        Stages = stages,
        Replicas = replicas,
        Microbatches = microbatches,
        Steps = 6,
        FaultSeconds = 600,
        ServiceSeconds = [.. Enumerable.Repeat(service, stages * replicas)],
        RoundTripSeconds = roundTrip,
    };

    static double Seconds(SwarmOptions options)
    {
        SwarmOutcome outcome = SwarmSimulation.Run(options, null, out _);
        Assert.True(outcome.IsSuccess, outcome.Failure);
        return outcome.VirtualSeconds;
    }

    [Fact]
    public void FourStagesTwoReplicas_RoundTripOf45ms_LittleIsLostToTheNetwork()
    {
        double near = Seconds(Undisturbed(4, 2, 64, 0.0002)), far = Seconds(Undisturbed(4, 2, 64, 0.045));
        double ideal = 6 * (64 / 2 + 3) * 0.2;
        output.WriteLine($"ideal {ideal:F1} s, near {near:F1} s ({ideal / near:F3}), 45 ms {far:F1} s ({ideal / far:F3}); far over near in speed {near / far:F3}");
        Assert.True(near / far >= 0.9, $"45 ms round trips cost {1 - near / far:P1}");
    }

    // a microbatch that finds no room goes on with the next word of whoever has room, not with a timer
    [Theory]
    [InlineData(2, 1)]
    [InlineData(3, 1)]
    [InlineData(4, 1)]
    [InlineData(2, 2)]
    [InlineData(4, 2)]
    public void MicrobatchesOfMilliseconds_NoStepWaitsForATimer(int stages, int replicas)
    {
        const double service = 0.004, closing = 4 * 0.00025 + 0.001 + 0.002;
        SwarmOutcome outcome = SwarmSimulation.Run(Undisturbed(stages, replicas, 16 * replicas, 0.0005, service) with { Steps = 20 }, null, out SwarmWorld world);
        Assert.True(outcome.IsSuccess, outcome.Failure);
        double[] steps = [.. world.CommitSeconds.Zip(world.CommitSeconds.Skip(1), (a, b) => b - a).Order()];
        double ideal = (16 + stages - 1) * service + closing;
        output.WriteLine($"{stages} x {replicas}: ideal {ideal:F3} s, median {steps[steps.Length / 2]:F3} s, longest {steps[^1]:F3} s");
        // random paths over replicas are uneven
        Assert.InRange(steps[steps.Length / 2], 0, ideal * (replicas == 1 ? 1.25 : 1.8));
    }

    [Fact]
    public void OneReplica_AnyStages_SumsInMicrobatchOrder()
    {
        for (int stages = 1; stages <= 4; stages++)
        {
            var told = new Dictionary<string, List<int>>();
            SwarmOutcome outcome = SwarmSimulation.Run(Undisturbed(stages, 1, 12, 0.03), line =>
            {
                Match match = Told().Match(line);
                if (!match.Success)
                    return;
                string key = match.Groups[1].Value + " step " + match.Groups[2].Value;
                (told.TryGetValue(key, out List<int>? list) ? list : told[key] = []).Add(int.Parse(match.Groups[3].Value));
            }, out _);
            Assert.True(outcome.IsSuccess, outcome.Failure);
            Assert.Equal(stages * 6, told.Count);
            Assert.All(told.Values, order => Assert.Equal(Enumerable.Range(0, 12), order));
        }
    }

    [GeneratedRegex(@"(\d+) -> 0  Contributed \{ Step = (\d+), Generation = 0, Microbatch = (\d+)")]
    private static partial Regex Told();
}
