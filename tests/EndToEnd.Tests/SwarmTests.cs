using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;

namespace OrionNative.EndToEnd.Tests;

public sealed class SwarmTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public SwarmTests()
    {
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        if (!System.Runtime.InteropServices.NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }
    }

    static int Steps => Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 50 : 6;

    static string Small => $"--data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --lr 3e-3 --steps {Steps}";

    EngineResult Train(string line) => EngineProcess.Run(_folder.Path, $"train {Small} {line}".Split(' '));

    [Fact]
    public void Stages_InProcessesOverEitherTransport_EqualTheSingleProcessToTheBit()
    {
        Train("--boundary none --wire fp32 --out one").Succeeded();
        foreach (int stages in (int[])[2, 3, 4])
        {
            Train($"--boundary none --wire fp32 --stages {stages} --out s{stages}").Succeeded();
            Assert.Equal(Losses("one"), Losses($"s{stages}"));
            Assert.Equal(WeightHashes("one"), WeightHashes($"s{stages}"));
        }

        Train("--boundary none --wire fp32 --stages 3 --transport tcp --out tcp").Succeeded();
        Assert.Equal(Losses("one"), Losses("tcp"));
        Assert.Equal(WeightHashes("one"), WeightHashes("tcp"));
        string wire = File.ReadAllText(Path.Combine(_folder.Path, "tcp", "orchestrator", "wire.log"));
        Assert.Contains(" tcp ", wire);
        Assert.DoesNotContain(" quic ", wire);
    }

    // the boundaries belong to the model: fewer stages hold several of its pieces each, and compute the same
    [Fact]
    public void Resume_WithAnotherNumberOfStages_KeepsTheModelAndContinuesAsIfNeverStopped()
    {
        string line = "train --data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --schedule constant --warmup 0 --boundary anchored --wire int8 --stages 3";
        _folder.File("valid.txt", string.Concat(Enumerable.Range(0, 40).Select(i => $"line {i}: the lazy dog.\n")));
        JsonObject straight = EngineProcess.Run(_folder.Path, $"{line} --steps 6 --eval-data valid.txt --out straight --json".Split(' ')).Succeeded().Json;
        JsonObject eval = EngineProcess.Run(_folder.Path, "eval --checkpoint straight --data valid.txt --sequence 32 --json".Split(' ')).Succeeded().Json;
        Assert.Equal((double)eval["loss"]!, (double)straight["evalLoss"]!, 1e-12);
        Assert.All(Metrics("straight"), step => Assert.InRange((double)step["mfu"]!, 1e-6, 1));
        EngineProcess.Run(_folder.Path, $"{line} --steps 2 --out cut".Split(' ')).Succeeded();
        EngineProcess.Run(_folder.Path, "train --resume cut --steps 4 --stages 2".Split(' ')).Succeeded();
        EngineProcess.Run(_folder.Path, "train --resume cut --steps 6 --stages 1".Split(' ')).Succeeded();
        Assert.Equal(Losses("straight"), Losses("cut"));
        Assert.Equal(WeightHashes("straight"), WeightHashes("cut"));
        Refused("--stages 4", "has its codes before block 1, 3 and can be cut there only; choose at most 3 stages");
        Refused("--boundary resbm", "trains a model with boundary \"anchored\", and is asked for \"resbm\"");
        Refused("--stages 2 --eval-every 2", "eval-every 2: the weights of a swarm come together in its checkpoints only");
        Refused("--code-width 4", "trains a model with codeWidth 2, and is asked for 4");
    }

    void Refused(string change, string words)
    {
        EngineResult result = EngineProcess.Run(_folder.Path, $"train --resume cut --steps 8 {change}".Split(' '));
        Assert.Equal(2, result.Status);
        Assert.Contains(words, result.Error);
    }

    // a terminal sends Ctrl-C to the run and to every peer that it started
    [Fact]
    public void Interrupt_OfTheRunAndItsPeersAtOnce_EndsTheStepAndSavesIt()
    {
        using Process process = EngineProcess.Start(_folder.Path, $"train {Small}0000 --stages 2 --replicas 2 --out run".Split(' '));
        while (process.StandardOutput.ReadLine() is { } line && !line.StartsWith("step", StringComparison.Ordinal))
        {
        }

        string[] peers = Directory.GetFiles(Path.Combine(_folder.Path, "run", "peers"), "process", SearchOption.AllDirectories);
        Assert.Equal(4, peers.Length);
        foreach (int id in peers.Select(file => int.Parse(File.ReadAllText(file), CultureInfo.InvariantCulture)).Append(process.Id))
        {
            EngineProcess.Interrupt(id);
        }

        EngineResult ended = EngineProcess.End(process, TimeSpan.FromSeconds(30));
        string rest = ended.Output + ended.Error;
        Assert.Equal(130, ended.Status);
        Assert.Contains("--resume", rest);
        Assert.DoesNotContain("lease expired", rest);
        Assert.True(File.Exists(Path.Combine(_folder.Path, "run", "latest")), rest);
    }

    [Fact]
    public void Replicas_AtSyncEveryStep_EqualTheSingleProcessToRounding()
    {
        Train("--boundary none --wire fp32 --out one").Succeeded();
        Train("--boundary none --wire fp32 --stages 2 --replicas 2 --out two").Succeeded();
        double[] one = [.. Losses("one").Select(Parse)], two = [.. Losses("two").Select(Parse)];
        Assert.Equal(one.Length, two.Length);
        Assert.All(one.Zip(two), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, 1e-5 * pair.First));
    }

    [Fact]
    public void Peer_KilledWhileTraining_LosesNoStepAndNoMicrobatch()
    {
        string line = $"train --data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --steps 24 --stages 2 --replicas 2 --out run";
        using Process process = EngineProcess.Start(_folder.Path, line.Split(' '));
        while (process.StandardOutput.ReadLine() is { } text && !text.StartsWith("step      3", StringComparison.Ordinal))
        {
        }

        int victim = ChildrenOf(process.Id)[1];
        Process.GetProcessById(victim).Kill();
        EngineResult ended = EngineProcess.End(process, TimeSpan.FromMinutes(2));
        string rest = ended.Output + ended.Error;
        Assert.True(process.ExitCode == 0, rest);
        int[] steps = [.. Metrics("run").Select(metrics => (int)metrics["step"]!)];
        Assert.Equal(Enumerable.Range(1, 24), steps);
        Assert.Contains(File.ReadLines(Path.Combine(_folder.Path, "run", "events.jsonl")), text => text.Contains("PeerRemoved", StringComparison.Ordinal));
    }

    static int[] ChildrenOf(int process) =>
        [.. File.ReadAllText($"/proc/{process}/task/{process}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)
            .Concat(Directory.GetDirectories($"/proc/{process}/task").SelectMany(task => File.ReadAllText($"{task}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries)).Select(int.Parse)).Distinct()];

    IEnumerable<JsonObject> Metrics(string run) =>
        File.ReadLines(Path.Combine(_folder.Path, run, "metrics.jsonl")).Select(line => JsonNode.Parse(line)!.AsObject());

    string[] Losses(string run) => [.. Metrics(run).Select(line => ((double)line["loss"]!).ToString("R", CultureInfo.InvariantCulture))];

    static double Parse(string text) => double.Parse(text, CultureInfo.InvariantCulture);

    string[] WeightHashes(string run) =>
    [
        .. Directory.GetFiles(Path.Combine(_folder.Path, run, "checkpoints", $"step-{Steps:D8}"), "*.safetensors").Order(StringComparer.Ordinal)
            .Select(file => $"{Path.GetFileName(file)} {Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file)))}"),
    ];

    public void Dispose() => _folder.Dispose();
}
