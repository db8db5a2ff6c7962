// A run whose peers share no disk: all that a peer has is its own empty folder and the join string.
using System.Diagnostics;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Run;

namespace OrionNative.EndToEnd.Tests;

public sealed class SeparateMachinesTests : IDisposable
{
    const string Settings = "--data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --schedule constant --warmup 0 --boundary none --wire fp32";

    readonly TemporaryFolder _folder = new();
    readonly SwarmOfMachines _swarm;

    public SeparateMachinesTests()
    {
        _swarm = new SwarmOfMachines(_folder);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        if (!System.Runtime.InteropServices.NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }
    }

    RunFiles Run(string name) => new(Path.Combine(_folder.Path, name));

    void TrainAlone(string arguments) => EngineProcess.Run(_folder.Path, $"train {Settings} {arguments}".Split(' ')).Succeeded();

    [Fact]
    public void Peers_WithNothingButTheJoinString_EqualTheSingleProcessToTheBit()
    {
        TrainAlone("--steps 8 --checkpoint-every 4 --out one");
        // tokens, state and checkpoints cross the wire: one checkpoint while the run goes on, one at its end, which new machines resume
        Process first = _swarm.Orchestrate($"{Settings} --steps 5 --checkpoint-every 2 --stages 2 --out far");
        Process[] peers = [_swarm.Join("a"), _swarm.Join("b")];
        Assert.True(_swarm.StatusOf(first) == 0, _swarm.Log);
        Assert.All(peers, peer => Assert.Equal(0, _swarm.StatusOf(peer, 20)));
        Assert.True(Directory.GetDirectories(Path.Combine(_folder.Path, "far", "checkpoints"), "step-*").Length > 1, _swarm.Log);

        UtilizationIsOfThePeersOwnPeaks("far");

        Process second = _swarm.Orchestrate("--resume far --steps 8 --stages 3 --replicas 1");
        peers = [_swarm.Join("c"), _swarm.Join("d"), _swarm.Join("e")];
        Assert.True(_swarm.StatusOf(second) == 0, _swarm.Log);
        Assert.Equal(Run("one").Losses, Run("far").Losses);
        Assert.Equal(Run("one").WeightHashes, Run("far").WeightHashes);
    }

    // what each peer measured of its device is in the event of its admission, in GFLOP/s
    void UtilizationIsOfThePeersOwnPeaks(string run)
    {
        double peak = 1e9 * Run(run).Events.Where(line => (string?)line["event"] == "PeerAdmitted").Sum(line => (double)line["Profile"]!["Speed"]!);
        double flop = ModelPresets.Get("tiny").TrainingFlopPerToken(32);
        Assert.All(Run(run).Metrics, line => Assert.Equal((double)line["tokensPerSecond"]! * flop / peak, (double)line["mfu"]!, 1e-9));
    }

    [Fact]
    public void Newcomer_WhileTheRunGoesOn_TakesItsStateFromALivingReplicaOverTheWire()
    {
        TrainAlone("--steps 40 --out one");
        Process orchestrator = _swarm.Orchestrate($"{Settings} --steps 40 --stages 2 --replicas 1 --out far");
        _swarm.Join("a");
        _swarm.Join("b");
        Process late = _swarm.Join("c");
        Assert.True(_swarm.StatusOf(orchestrator) == 0, _swarm.Log);
        Assert.True(_swarm.StatusOf(late, 20) == 0, _swarm.Log);
        Assert.Matches("c: .*takes the state of step [0-9]+ from [a-z2-7]", _swarm.Log);
        double[] one = Parse(Run("one").Losses), far = Parse(Run("far").Losses);
        Assert.Equal(one.Length, far.Length);
        // two replicas of one stage add their gradients in another order: roundings of fp32, as in the replica test
        Assert.All(one.Zip(far), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, 1e-4 * pair.First));
    }

    static double[] Parse(string[] losses) => [.. losses.Select(text => double.Parse(text, System.Globalization.CultureInfo.InvariantCulture))];

    public void Dispose()
    {
        _swarm.Dispose();
        _folder.Dispose();
    }
}
