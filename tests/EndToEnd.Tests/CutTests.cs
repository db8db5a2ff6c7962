// Where the model is cut: no block is lost or doubled (every layer's file has the fingerprint that one process gives it),
// replicas may come and go between two parts of a run, and uneven peers get uneven slices.
using System.Diagnostics;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;

namespace OrionNative.EndToEnd.Tests;

public sealed class CutTests : IDisposable
{
    const string Settings = "--data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --schedule constant --warmup 0 --boundary none --wire fp32";

    readonly TemporaryFolder _folder = new();
    readonly SwarmOfMachines _swarm;

    public CutTests()
    {
        _swarm = new SwarmOfMachines(_folder);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        foreach (int layers in (int[])[7, 30])
        {
            _folder.File($"deep{layers}.yaml", $"width: 32\nlayers: {layers}\nquery-heads: 2\nkv-heads: 2\nhead-width: 16\nfeed-forward: 64\ncontext: 64\n");
        }

        if (!System.Runtime.InteropServices.NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }
    }

    EngineResult Train(string line) => EngineProcess.Run(_folder.Path, $"train {Settings} {line}".Split(' ')).Succeeded();

    RunFiles Files(string run) => new(Path.Combine(_folder.Path, run));

    [Theory]
    [InlineData(7, 3)]
    [InlineData(30, 4)]
    public void Blocks_NotAMultipleOfTheStages_AreAllThereOnce(int layers, int stages)
    {
        Train($"--model deep{layers}.yaml --steps 3 --out one");
        Train($"--model deep{layers}.yaml --steps 3 --stages {stages} --out cut");
        string[] fingerprints = Files("cut").WeightHashes;
        Assert.Equal(layers, fingerprints.Count(line => line.StartsWith("layer-", StringComparison.Ordinal) && !line.Contains("optimizer", StringComparison.Ordinal)));
        Assert.Equal(Files("one").WeightHashes, fingerprints);
        Assert.Equal(Files("one").Losses, Files("cut").Losses);
    }

    [Fact]
    public void Resume_WithAnotherNumberOfReplicas_ContinuesAsIfNeverStopped()
    {
        Train("--steps 12 --out straight");
        Train("--steps 4 --stages 2 --out cut");
        EngineProcess.Run(_folder.Path, "train --resume cut --steps 8 --replicas 2".Split(' ')).Succeeded();
        EngineProcess.Run(_folder.Path, "train --resume cut --steps 12 --stages 3 --replicas 1".Split(' ')).Succeeded();
        Assert.Equal(Enumerable.Range(1, 12), Files("cut").Steps);
        Assert.Equal(Files("straight").Losses[..4], Files("cut").Losses[..4]);
        // with two replicas the order of two sums differs: roundings of fp32, which AdamW may enlarge a little
        Assert.All(Files("straight").Losses.Zip(Files("cut").Losses), pair => Assert.InRange(Math.Abs(Parse(pair.First) - Parse(pair.Second)), 0, 1e-5 * Parse(pair.First)));
    }

    [Fact]
    public void Peers_OfUnevenSpeed_GetUnevenSlicesAndTheSameBits()
    {
        Train("--model deep7.yaml --steps 3 --out one");
        Process orchestrator = _swarm.Orchestrate($"{Settings} --model deep7.yaml --steps 3 --stages 2 --out far");
        _swarm.Join("slow", "--speed 10");
        _swarm.Join("fast", "--speed 30");
        Assert.True(_swarm.StatusOf(orchestrator) == 0, _swarm.Log);
        JsonObject placed = Files("far").Events.First(line => (string?)line["event"] == "PlacementPublished");
        int[] blocks = [.. placed["Placement"]!["Slices"]!.AsArray().Select(slice => (int)slice!["BlockCount"]!)];
        // a block costs 11.3k (4*32*32 + 3*32*64 weights, and 32*32 for attention), the head 8.2k: 6 + 1 takes max(67.6/30, 19.5/10) = 2.25,
        // 5 + 2 takes max(56.3/30, 30.7/10) = 3.07
        Assert.Equal([6, 1], blocks);
        Assert.Contains("fast: ", _swarm.Log.Split('\n').Single(line => line.Contains("holds stage 0", StringComparison.Ordinal)));
        Assert.Equal(Files("one").WeightHashes, Files("far").WeightHashes);
    }

    [Fact]
    public void Peers_ThatStateNoSpeed_AreCutByWhatTheirMachinesMeasured()
    {
        if (!System.Runtime.Intrinsics.X86.Avx2.IsSupported)
        {
            Assert.Skip("the narrow machine is this one without its 256-bit instructions, and this one has none; run it on a processor with AVX2");
        }

        Process orchestrator = _swarm.Orchestrate($"{Settings} --model deep7.yaml --steps 2 --stages 2 --out measured");
        _swarm.Join("narrow", setting: "DOTNET_EnableAVX2=0");
        _swarm.Join("wide");
        Assert.True(_swarm.StatusOf(orchestrator) == 0, _swarm.Log);
        JsonObject[] events = [.. Files("measured").Events];
        Dictionary<string, double> speeds = events.Where(line => (string?)line["event"] == "PeerAdmitted")
            .ToDictionary(line => (string)line["Profile"]!["Peer"]!, line => (double)line["Profile"]!["Speed"]!);
        JsonObject placed = events.First(line => (string?)line["event"] == "PlacementPublished");
        int[] blocks = [.. placed["Placement"]!["Slices"]!.AsArray().Select(slice => (int)slice!["BlockCount"]!)];
        double[] speed = [.. placed["Placement"]!["Members"]!.AsArray().OrderBy(member => (int)member!["Stage"]!).Select(member => speeds[(string)member!["Peer"]!])];
        // four lanes without fused multiply-add against eight or sixteen with it: at least four times, and half of that where
        // neighbours take half of the processors while the second one measures; both lead to the same cut
        Assert.True(speed[0] > 1.5 * speed[1], $"measured {speed[0]} and {speed[1]} GFLOP/s");
        // a block 11.3, the head 8.2 (see above): every cut tried
        int best = Enumerable.Range(1, 6).MinBy(first => Math.Max(11.3 * first / speed[0], ((11.3 * (7 - first)) + 8.2) / speed[1]));
        Assert.Equal([best, 7 - best], blocks);
        Assert.InRange(best, 5, 6);
    }

    static double Parse(string text) => double.Parse(text, System.Globalization.CultureInfo.InvariantCulture);

    public void Dispose()
    {
        _swarm.Dispose();
        _folder.Dispose();
    }
}
