// A compute thread that hangs while its process lives, in each kind of task beside microbatches, and everything that must not
// be taken for one. Bounds: patience (8 times the peer's own time, 5 s at least; before it is measured 8 times the simulated
// host's estimate of 2 s), and until it is said and heard a tick, a heartbeat, half a round trip and a tick.
using System.Globalization;
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public class HangTests(ITestOutputHelper output)
{
    const double SaidAndHeardSeconds = 0.1 + 0.25 + 0.05 + 0.2;
    const string Hangs = "its compute has not ended";

    static SwarmOptions Steady(ulong seed, int steps = 14) => new()
    {
        Seed = seed,
        Stages = 3,
        Replicas = 2,
        Microbatches = 12,
        Steps = steps,
        FaultSeconds = 200,
        ScriptedFaultSeconds = 40,
        ServiceSeconds = [.. Enumerable.Repeat(0.2, 6)],
        RoundTripSeconds = 0.05,
    };

    static double Seconds(string line) => double.Parse(line[..10], CultureInfo.InvariantCulture);

    static SwarmWorld Run(SwarmOptions options, List<string> lines)
    {
        SwarmOutcome outcome = SwarmSimulation.Run(options, lines.Add, out SwarmWorld world);
        Assert.True(outcome.IsSuccess, outcome.Failure);
        return world;
    }

    // (fault, seconds of the sum and the apply, the words, the bound)
    [Theory]
    [InlineData((int)FaultKinds.HangInSum, 0.001, "the sum of a reduction", 5.0)]
    [InlineData((int)FaultKinds.HangInApply, 0.001, "an optimizer step", 5.0)]
    [InlineData((int)FaultKinds.HangInSum, 1.5, "the sum of a reduction", 12.0)]
    [InlineData((int)FaultKinds.HangInApply, 1.5, "an optimizer step", 12.0)]
    public void HangsInATaskOfAStep_RemovedInProportionToItsOwnTimeAndTheRunGoesOn(int fault, double taskSeconds, string words, double patience)
    {
        var delays = new List<double>();
        int returns = 0;
        for (ulong seed = 1; seed <= 12; seed++)
        {
            var lines = new List<string>();
            SwarmOptions options = Steady(seed, steps: 24) with { ScriptedFaultSeconds = 20, SumSeconds = taskSeconds, ApplySeconds = taskSeconds, Script = [(12 + seed * 0.31, (FaultKinds)fault, 1 + (int)seed % 6)] };
            SwarmWorld world = Run(options, lines);
            double began = world.FaultTimes[^1].Seconds;
            int removed = lines.FindIndex(line => line.Contains("LOG PeerRemoved") && line.Contains(Hangs));
            Assert.True(removed >= 0, $"seed {seed}: nobody noticed");
            Assert.Contains(words, lines[removed]);
            Assert.Single(lines, line => line.Contains("LOG PeerRemoved"));
            delays.Add(Seconds(lines[removed]) - began);
            // the step that it held up is committed at once: its replica has the sum, or does its share again
            double next = world.CommitSeconds.First(at => at > Seconds(lines[removed]) - 1e-3);
            Assert.InRange(next - Seconds(lines[removed]), 0, 4 * taskSeconds + 5);
            returns += lines.Skip(removed).Any(line => line.Contains("LOG PeerAdmitted")) ? 1 : 0;
        }
        output.WriteLine($"{(FaultKinds)fault}, {taskSeconds} s: removed after {delays.Min():F2} to {delays.Max():F2} s, {returns} of {delays.Count} came back");
        Assert.All(delays, delay => Assert.InRange(delay, patience, patience + SaidAndHeardSeconds));
        Assert.Equal(delays.Count, returns);
    }

    [Fact]
    public void HangsInItsFirstLoad_RemovedAfterTheEstimateAndTheOthersBegin()
    {
        for (ulong seed = 1; seed <= 12; seed++)
        {
            var lines = new List<string>();
            SwarmWorld world = Run(Steady(seed, steps: 40) with { Script = [(0.001, FaultKinds.HangInLoad, 1 + (int)seed % 6)] }, lines);
            double began = world.FaultTimes[^1].Seconds;
            string removed = lines.First(line => line.Contains("LOG PeerRemoved"));
            Assert.Contains(Hangs, removed);
            Assert.Contains("making room for its stage", removed);
            Assert.InRange(Seconds(removed) - began, 16, 16 + SaidAndHeardSeconds);
            Assert.InRange(world.CommitSeconds[0], Seconds(removed), Seconds(removed) + 10);
            // when it wakes up it asks again, and is given its place
            Assert.True(lines.FindLastIndex(line => line.Contains("LOG PeerAdmitted")) > lines.IndexOf(removed), $"seed {seed}: it never came back");
        }
    }

    [Fact]
    public void HangsInTheLoadOfAHandover_TheStepsWaitNoLongerThanTheEstimate()
    {
        for (ulong seed = 1; seed <= 12; seed++)
        {
            var lines = new List<string>();
            int peer = 1 + (int)seed % 6;
            SwarmOptions options = Steady(seed, steps: 60) with { ScriptedFaultSeconds = 30, Script = [(6, FaultKinds.Crash, peer), (36.001, FaultKinds.HangInLoad, peer)] };
            SwarmWorld world = Run(options, lines);
            double began = world.FaultTimes[^1].Seconds;
            string removed = lines.Last(line => line.Contains("LOG PeerRemoved"));
            Assert.Contains("making room for its stage", removed);
            Assert.InRange(Seconds(removed) - began, 16, 16 + SaidAndHeardSeconds);
            double before = world.CommitSeconds.Last(at => at < began + 1), after = world.CommitSeconds.First(at => at > before);
            output.WriteLine($"seed {seed}: hung at {began:F2}, removed at {Seconds(removed):F2}, commits at {before:F2} and {after:F2}");
            Assert.InRange(after - before, 0, 16 + SaidAndHeardSeconds + 6);
        }
    }

    [Fact]
    public void OnlyHolderHangs_StaysAndTheRunSaysWhatItWaitsFor()
    {
        foreach (FaultKinds fault in (FaultKinds[])[FaultKinds.HangInSum, FaultKinds.HangInApply])
        {
            var lines = new List<string>();
            SwarmOptions options = Steady(3) with { Replicas = 1, ServiceSeconds = [0.2, 0.2, 0.2], Script = [(8, fault, 2)] };
            SwarmWorld world = Run(options, lines);
            Assert.DoesNotContain(lines, line => line.Contains("LOG PeerRemoved"));
            string note = Assert.Single(lines, line => line.Contains("NOTE") && line.Contains(Hangs));
            Assert.Contains("nobody else holds stage", note);
            Assert.InRange(Seconds(note) - world.FaultTimes[^1].Seconds, 5, 5 + SaidAndHeardSeconds);
        }
    }

    // ---- what is no hang ----

    [Theory]
    [InlineData(0.001, 0.0)]    // busy machine: milliseconds become a hundredth of a second, ten times as much at one peer
    [InlineData(0.5, 0.0)]      // 5 s at the slow peer, from its first one on
    [InlineData(2.0, 0.0)]      // 20 s
    [InlineData(0.01, 10.0)]    // the first sum and the first apply of every process compile for 10 s
    public void PeerTenTimesSlower_OrColdAtFirst_IsNeverCalledHung(double taskSeconds, double coldSeconds)
    {
        for (ulong seed = 1; seed <= 6; seed++)
        {
            for (int slow = 1; slow <= 6; slow++)
            {
                var lines = new List<string>();
                double[] factors = [.. Enumerable.Range(1, 6).Select(peer => peer == slow ? 10.0 : 1)];
                SwarmOptions options = Steady(seed, steps: 6) with
                {
                    SumSeconds = taskSeconds,
                    ApplySeconds = taskSeconds,
                    ColdSeconds = coldSeconds,
                    TaskFactors = factors,
                    ServiceSeconds = [.. factors.Select(factor => 0.2 * factor)],
                    HealedSeconds = 600,
                };
                Run(options, lines);
                Assert.DoesNotContain(lines, line => line.Contains("LOG PeerRemoved"));
            }
        }
    }

    [Fact]
    public void PeerSuddenlySlowInEverything_UpToEightfold_IsNeverCalledHung()
    {
        foreach (double taskSeconds in (double[])[0.001, 0.6, 1.5])
        {
            for (ulong seed = 1; seed <= 8; seed++)
            {
                var lines = new List<string>();
                SwarmOptions options = Steady(seed) with
                {
                    SumSeconds = taskSeconds,
                    ApplySeconds = taskSeconds,
                    Script = [(10, FaultKinds.Slow, 1), (11, FaultKinds.Slow, 4), (20, FaultKinds.Slow, 6)],
                    HealedSeconds = 600,
                };
                Run(options, lines);
                Assert.DoesNotContain(lines, line => line.Contains(Hangs));
            }
        }
    }

    // A process that stands still for 3 s in a reduction may lose its place (it was silent); it is not called hung, nothing forks
    // (the world checks weights and commits after every event), and it works again afterwards.
    [Fact]
    public void ProcessPausedForThreeSecondsInAReduction_NothingForksAndItWorksAgain()
    {
        int kept = 0;
        for (ulong seed = 1; seed <= 24; seed++)
        {
            var lines = new List<string>();
            int peer = 1 + (int)seed % 6;
            SwarmWorld world = Run(Steady(seed) with { SumSeconds = 0.3, Script = [(9 + seed * 0.17, FaultKinds.PauseInSum, peer)] }, lines);
            Assert.Equal(FaultKinds.PauseInSum, world.FaultTimes[^1].Fault);
            Assert.DoesNotContain(lines, line => line.Contains(Hangs));
            kept += lines.Any(line => line.Contains("LOG PeerRemoved")) ? 0 : 1;
            Assert.Equal(6, Enumerable.Range(0, 3).Sum(stage => world.HoldersOf(stage).Length));
        }
        output.WriteLine($"{kept} of 24 kept their place");
    }
}
