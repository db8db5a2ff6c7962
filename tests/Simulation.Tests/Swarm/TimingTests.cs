// The budgets of a failure at default settings, under virtual time, and what a slow peer costs.
//   crash -> first rerouted microbatch < 1 s;  stopped process, one-way blackhole < 3 s
//   a peer at 1/5 of the others' speed: about 1/5 of their work, total time <= 1.15 * (full time * 3 / 2.2)
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public class TimingTests(ITestOutputHelper output)
{
    const double FaultAt = 4.03;

    static SwarmOptions Steady(ulong seed, int stages = 3, int replicas = 2, int microbatches = 24, int steps = 6) => new()
    {
        Seed = seed,
        Stages = stages,
        Replicas = replicas,
        Microbatches = microbatches,
        Steps = steps,
        FaultSeconds = 60,
        ServiceSeconds = [.. Enumerable.Repeat(0.2, stages * replicas)],
        RoundTripSeconds = 0.05,
    };

    [Theory]
    [InlineData((int)FaultKinds.Crash, 1.0)]
    [InlineData((int)FaultKinds.Hang, 3.0)]
    [InlineData((int)FaultKinds.BlackholeOut, 3.0)]
    [InlineData((int)FaultKinds.BlackholeIn, 3.0)]
    public void PeerLost_DefaultSettings_FirstRerouteWithinBudget(int fault, double budgetSeconds)
    {
        var delays = new List<double>();
        for (ulong seed = 1; seed <= 30; seed++)
        {
            // Every stage is hit; a peer that holds nothing at that moment leaves nothing to reroute.
            int peer = 1 + (int)seed % 6;
            double at = FaultAt + seed * 0.17;
            SwarmOptions options = Steady(seed) with { Script = [(at, (FaultKinds)fault, peer)] };
            SwarmOutcome outcome = SwarmSimulation.Run(options, null, out SwarmWorld world);
            Assert.True(outcome.IsSuccess, outcome.Failure);
            // A last-stage peer that hears nobody can still finish all that it holds.
            bool finishesAlone = (FaultKinds)fault == FaultKinds.BlackholeIn && world.FaultTimes[0].Stage == options.Stages - 1;
            if (world.FaultTimes[0].InFlight > 0 && !finishesAlone)
            {
                Assert.True(world.Reroutes.Any(r => r.Seconds >= at), $"seed {seed}: nothing was rerouted after {(FaultKinds)fault} of peer {peer} (stage {world.FaultTimes[0].Stage}) at {at:F2} s");
                delays.Add(world.Reroutes.First(r => r.Seconds >= at).Seconds - at);
            }
        }
        Assert.True(delays.Count >= 10, $"only {delays.Count} of 30 faults hit a working peer");
        output.WriteLine($"{(FaultKinds)fault}: first reroute after {delays.Min():F3} to {delays.Max():F3} s ({delays.Count} faults), budget {budgetSeconds} s");
        Assert.All(delays, d => Assert.InRange(d, 0, budgetSeconds));
    }

    [Fact]
    public void SlowPeer_FifthOfTheSpeed_GetsAboutAFifthAndCostsLittle()
    {
        double[] even = [.. Enumerable.Repeat(0.2, 9)];
        double[] oneSlow = [.. even];
        var shares = new List<double>();
        var ratios = new List<double>();
        for (ulong seed = 1; seed <= 5; seed++)
        {
            SwarmOptions options = Steady(seed, replicas: 3, microbatches: 48, steps: 8);
            Assert.True(SwarmSimulation.Run(options with { ServiceSeconds = even }, null, out SwarmWorld full).IsSuccess);
            int slow = SlowInTheMiddle(full);
            oneSlow[slow - 1] = 1.0;
            SwarmOutcome outcome = SwarmSimulation.Run(options with { ServiceSeconds = [.. oneSlow] }, null, out SwarmWorld world);
            Assert.True(outcome.IsSuccess, outcome.Failure);
            oneSlow[slow - 1] = 0.2;
            int[] others = [.. world.ReplicasOf(slow)];
            shares.Add(world.WorkDone[slow] / others.Average(o => world.WorkDone[o]));
            ratios.Add(outcome.VirtualSeconds / (full.Now.Seconds * 3 / 2.2));
        }
        output.WriteLine($"share of a fast replica's work: {string.Join(' ', shares.Select(s => s.ToString("F3")))}; total time over what the remaining capacity allows: {string.Join(' ', ratios.Select(r => r.ToString("F3")))}");
        Assert.InRange(shares.Average(), 0.1, 0.3);
        Assert.InRange(ratios.Average(), 0, 1.15);
    }

    // A compute of 2 s (8 of its usual microbatches of 0.2 s are less), a heartbeat, a tick, and what was computing at the fault.
    [Fact]
    public void ComputeHangs_LoopAlive_RemovedWithinThreeSecondsAndWelcomeAfterwards()
    {
        var delays = new List<double>();
        int returns = 0;
        for (ulong seed = 1; seed <= 12; seed++)
        {
            var lines = new List<string>();
            int peer = 1 + (int)seed % 6;
            SwarmOptions options = Steady(seed, steps: 12) with { Script = [(FaultAt + seed * 0.17, FaultKinds.ComputeHang, peer)] };
            SwarmOutcome outcome = SwarmSimulation.Run(options, lines.Add, out SwarmWorld world);
            Assert.True(outcome.IsSuccess, outcome.Failure);
            int removed = lines.FindIndex(line => line.Contains("LOG PeerRemoved") && line.Contains("its compute has not ended"));
            if (world.FaultTimes[0].InFlight == 0)
                continue;
            Assert.True(removed >= 0, $"seed {seed}: nobody noticed that the compute of peer {peer} hangs");
            delays.Add(double.Parse(lines[removed][..10], System.Globalization.CultureInfo.InvariantCulture) - world.FaultTimes[0].Seconds);
            returns += lines.Skip(removed).Any(line => line.Contains("LOG PeerAdmitted")) ? 1 : 0;
        }
        output.WriteLine($"removed after {delays.Min():F2} to {delays.Max():F2} s ({delays.Count} hangs), {returns} came back");
        Assert.True(delays.Count >= 6, $"only {delays.Count} of 12 faults hit a working peer");
        Assert.All(delays, delay => Assert.InRange(delay, 0, 3));
        Assert.True(returns >= delays.Count / 2, $"only {returns} of {delays.Count} came back");
    }

    [Theory]
    [InlineData(0.2)]
    [InlineData(1.5)]
    public void PeerSuddenlySlow_UpToEightfold_IsNeverCalledHung(double serviceSeconds)
    {
        for (ulong seed = 1; seed <= 8; seed++)
        {
            var lines = new List<string>();
            SwarmOptions options = Steady(seed) with
            {
                ServiceSeconds = [.. Enumerable.Repeat(serviceSeconds, 6)],
                Script = [(FaultAt, FaultKinds.Slow, 1), (FaultAt + 1, FaultKinds.Slow, 4), (FaultAt + 20, FaultKinds.Slow, 6)],
            };
            SwarmOutcome outcome = SwarmSimulation.Run(options, lines.Add, out _);
            Assert.True(outcome.IsSuccess, outcome.Failure);
            Assert.DoesNotContain(lines, line => line.Contains("its compute has not ended"));
        }
    }

    static int SlowInTheMiddle(SwarmWorld world) => world.HoldersOf(1)[0];

    [Fact]
    public void LastHolderCrashes_RunHoldsWithItsReason_GoesOnWhenItIsBack()
    {
        var lines = new List<string>();
        SwarmOptions options = Steady(3, stages: 3, replicas: 1, microbatches: 8) with { Script = [(FaultAt, FaultKinds.Crash, 2)] };
        SwarmOutcome outcome = SwarmSimulation.Run(options, lines.Add, out _);
        Assert.True(outcome.IsSuccess, outcome.Failure);
        Assert.Contains(lines, l => l.Contains("HOLD: no holder for stage 1"));
        Assert.True(outcome.Probes[Probe.RolledBack] > 0 || outcome.Probes[Probe.Hold] > 0);
    }

    [Fact]
    public void OrchestratorKilled_FiftyTimes_NoForkNoLostCommit()
    {
        for (ulong seed = 1; seed <= 3; seed++)
        {
            SwarmOptions options = Steady(seed, steps: 40) with { FaultSeconds = 300, Script = [.. Enumerable.Range(1, 50).Select(i => (i * 5.3 + seed * 0.37, FaultKinds.OrchestratorCrash, 1))] };
            SwarmOutcome outcome = SwarmSimulation.Run(options, null, out SwarmWorld world);
            Assert.True(outcome.IsSuccess, outcome.Failure);
            output.WriteLine($"seed {seed}: {outcome.Probes[Probe.OrchestratorRestart]} restarts, {world.FaultTimes.Count} faults, done after {outcome.VirtualSeconds:F0} s");
            Assert.True(outcome.Probes[Probe.OrchestratorRestart] >= 10);
        }
    }
}
