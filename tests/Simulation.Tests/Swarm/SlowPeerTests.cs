// What one slow replica costs, under virtual time, at every stage, for several speeds, shapes and seeds.
//   allowed = full * R / (R - 1 + 1/k)       full: the same run with all replicas alike; k: how many times slower; fluid
//   integer = full + s * (max(n k, ceil((M - n) / (R - 1))) - ceil(M / R)), the best n: no schedule of whole microbatches is better
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public class SlowPeerTests(ITestOutputHelper output)
{
    static readonly int _seeds = Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 5 : 2;

    readonly record struct Outcome(double FirstStep, double Step, double Share, long Busy);

    static Outcome Run(SwarmOptions options, int slowStage, double slowness)
    {
        // who holds which stage is the seed's: a run of one step tells
        Assert.True(SwarmSimulation.Run(options with { Steps = 1 }, null, out SwarmWorld placed).IsSuccess);
        int slow = placed.HoldersOf(slowStage)[(int)(options.Seed % (ulong)options.Replicas)];
        double[] service = [.. options.ServiceSeconds];
        service[slow - 1] *= slowness;
        SwarmOutcome outcome = SwarmSimulation.Run(options with { ServiceSeconds = service }, null, out SwarmWorld world);
        Assert.True(outcome.IsSuccess, outcome.Failure);
        double[] steps = [.. world.CommitSeconds.Zip(world.CommitSeconds.Skip(1), (a, b) => b - a).Order()];
        double others = world.ReplicasOf(slow).Average(o => world.WorkDone[o]);
        return new Outcome(world.CommitSeconds[0], steps[steps.Length / 2], world.WorkDone[slow] / others, world.Probes[Probe.Busy]);
    }

    [Theory]
    [InlineData(2, 3, 36, 0.12, 0.002)]
    [InlineData(3, 3, 48, 0.2, 0.05)]
    [InlineData(4, 2, 32, 0.2, 0.045)]
    [InlineData(4, 3, 96, 0.1, 0.045)]
    public void OneSlowReplica_AnyStage_CostsNoMoreThanItsShare(int stages, int replicas, int microbatches, double service, double roundTrip)
    {
        var bad = new List<string>();
        foreach (double slowness in (double[])[2, 5, 10])
        {
            for (int stage = 0; stage < stages; stage++)
            {
                double ratio = 0, integer = 0, share = 0, first = 0, busy = 0;
                for (ulong seed = 1; seed <= (ulong)_seeds; seed++)
                {
                    var options = new SwarmOptions
                    {
                        Seed = seed,
                        Stages = stages,
                        Replicas = replicas,
                        Microbatches = microbatches,
                        Steps = 8,
                        FaultSeconds = 600,
                        ServiceSeconds = [.. Enumerable.Repeat(service, stages * replicas)],
                        RoundTripSeconds = roundTrip,
                    };
                    Outcome full = Run(options, stage, 1), slowed = Run(options, stage, slowness);
                    ratio += slowed.Step / (full.Step * replicas / (replicas - 1 + 1 / slowness)) / _seeds;
                    double longest = Enumerable.Range(0, microbatches).Min(n => Math.Max(n * slowness, Math.Ceiling((microbatches - n) / (replicas - 1.0))));
                    integer += slowed.Step / (full.Step + service * (longest - Math.Ceiling((double)microbatches / replicas))) / _seeds;
                    share += slowed.Share / _seeds;
                    first += (slowed.FirstStep - full.FirstStep) / _seeds;
                    busy += (double)slowed.Busy / _seeds / 8;
                }
                output.WriteLine($"1/{slowness} at stage {stage}: share {share:F3}, over allowed {ratio:F3}, over integer {integer:F3}, first step +{first:F2} s, busy a step {busy:F0}");
                if (ratio > 1.15)
                    bad.Add($"1/{slowness} at stage {stage}: {ratio:F3}");
            }
        }
        Assert.Empty(bad);
    }
}
