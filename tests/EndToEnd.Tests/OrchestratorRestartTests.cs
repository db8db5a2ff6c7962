// The orchestrator is killed (SIGKILL) at random moments and started again with --resume: the same peers come back, and what
// the run has committed is what a single process that was never disturbed commits, to the bit.
using System.Diagnostics;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;

namespace OrionNative.EndToEnd.Tests;

public sealed class OrchestratorRestartTests : IDisposable
{
    const string Settings = "--data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --schedule constant --warmup 0 --boundary none --wire fp32 --checkpoint-every 20";

    readonly TemporaryFolder _folder = new();
    readonly SwarmOfMachines _swarm;

    public OrchestratorRestartTests()
    {
        _swarm = new SwarmOfMachines(_folder);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        if (!System.Runtime.InteropServices.NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }
    }

    static int Kills => Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 50 : 3;

    RunFiles Files(string run) => new(Path.Combine(_folder.Path, run));

    int StepsSoFar(string run)
    {
        string file = Path.Combine(_folder.Path, run, "metrics.jsonl");
        return File.Exists(file) ? File.ReadLines(file).Count() : 0;
    }

    [Fact]
    public void Orchestrator_KilledAtRandomMoments_NoForkAndNoCommitIsLost()
    {
        const int seed = 20261122;
        Random random = new(seed);
        _swarm.Orchestrate($"{Settings} --steps 1000000 --stages 2 --out far");
        Process[] peers = [_swarm.Join("a", "--speed 1"), _swarm.Join("b", "--speed 1")];
        int committed = 0;
        for (int kill = 1; kill <= Kills; kill++)
        {
            // some kills hit the start and the recovery, most the middle of steps
            if (kill % 4 != 0)
            {
                WaitForStep("far", committed + 1);
            }

            Thread.Sleep(random.Next(kill % 4 == 0 ? 300 : 1200));
            _swarm.Orchestrator.Kill();
            _swarm.Orchestrator.WaitForExit();
            committed = StepsSoFar("far");
            _swarm.Orchestrate("--resume far", listens: false);
            Assert.All(peers, peer => Assert.False(peer.HasExited, $"a peer left after kill {kill} (seed {seed})\n{_swarm.Log}"));
        }

        WaitForStep("far", committed + 3);
        EngineProcess.Run(_folder.Path, "stop --run far".Split(' ')).Succeeded();
        Assert.Equal(130, _swarm.StatusOf(_swarm.Orchestrator));
        Check(seed, Kills);
    }

    void Check(int seed, int kills)
    {
        RunFiles far = Files("far");
        int last = far.Steps[^1];
        Assert.Equal(Enumerable.Range(1, last), far.Steps);
        JsonObject[] events = [.. far.Events];
        Assert.Equal(Enumerable.Range(1, last), events.Where(line => (string?)line["event"] == "StepCommitted").Select(line => (int)line["Step"]!));
        Assert.All(events.Where(line => (string?)line["event"] == "StepCommitted"), line => Assert.Equal(0, (int)line["Branch"]!));
        Assert.DoesNotContain(events, line => (string?)line["event"] == "RolledBack");
        int[] terms = [.. events.Where(line => (string?)line["event"] == "TermStarted").Select(line => (int)line["Term"]!)];
        Assert.Equal(Enumerable.Range(1, terms.Length), terms);
        Assert.InRange(terms.Length, 2, kills + 1);
        int[] records = [.. events.Where(line => line["record"] is not null).Select(line => (int)line["record"]!)];
        Assert.Equal(Enumerable.Range(1, records.Length), records);

        EngineProcess.Run(_folder.Path, $"train {Settings} --steps {last} --out one".Split(' ')).Succeeded();
        Assert.Equal(Files("one").Losses, far.Losses);
        Assert.Equal(Files("one").WeightHashes, far.WeightHashes);
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {kills} kills, {terms.Length} terms, {last} steps, bits equal to one process");
    }

    void WaitForStep(string run, int step)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (StepsSoFar(run) < step)
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(60), $"step {step} was not committed within 60 s\n{_swarm.Log}");
            Thread.Sleep(50);
        }
    }

    [Fact]
    public void Orchestrator_GoneForGood_ItsPeersSayHowLongTheyWaitAndEnd()
    {
        _swarm.Orchestrate($"{Settings} --steps 1000000 --stages 2 --out far");
        Process[] peers = [_swarm.Join("a", "--speed 1 --patience 2"), _swarm.Join("b", "--speed 1 --patience 2")];
        WaitForStep("far", 1);
        _swarm.Orchestrator.Kill();
        foreach (Process peer in peers)
        {
            Assert.Equal(1, _swarm.StatusOf(peer, 30));
        }

        Assert.Matches("a: .*the orchestrator is away .*waits 2 s for it to be resumed", _swarm.Log);
        Assert.Matches("a: .*no orchestrator .* at 127.0.0.1:[0-9]+ for [0-9]+ s", _swarm.Log);
    }

    [Fact]
    public void TrainingProcess_Killed_ItsPeersComeBackToTheResumedOne()
    {
        using (Process first = EngineProcess.Start(_folder.Path, $"train {Settings} --steps 60 --stages 2 --out far".Split(' ')))
        {
            WaitForStep("far", 10);
            // a killed run's peers wait for the next one, but not for ever
            foreach (string file in Directory.GetFiles(Path.Combine(_folder.Path, "far", "peers"), "process", SearchOption.AllDirectories))
            {
                Assert.Contains("--patience\0300\0", File.ReadAllText($"/proc/{File.ReadAllText(file)}/cmdline"), StringComparison.Ordinal);
            }

            first.Kill();
            first.WaitForExit();
        }

        EngineProcess.Run(_folder.Path, "train --resume far".Split(' ')).Succeeded();
        EngineProcess.Run(_folder.Path, $"train {Settings} --steps 60 --out one".Split(' ')).Succeeded();
        Assert.Equal(Files("one").Losses, Files("far").Losses);
        Assert.Equal(Files("one").WeightHashes, Files("far").WeightHashes);
        Assert.DoesNotContain(Files("far").Events, line => (string?)line["event"] is "RolledBack" or "PeerRemoved");
    }

    public void Dispose()
    {
        _swarm.Dispose();
        _folder.Dispose();
    }
}
