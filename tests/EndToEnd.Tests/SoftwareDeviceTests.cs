// Every command with --device softcuda:0, as an operator calls it: the kernels and calls of a card, on this machine's processor.
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;

namespace OrionNative.EndToEnd.Tests;

public sealed class SoftwareDeviceTests : IDisposable
{
    const string Model = "vocabulary: 256\nwidth: 64\nlayers: 2\nquery-heads: 2\nkv-heads: 1\nhead-width: 32\nfeed-forward: 96\ncontext: 64\n";
    const string Settings = "--model small.yaml --data text.txt --sequence 32 --microbatch-size 1 --microbatches 2 --seed 7 --schedule constant --warmup 0 --lr 3e-3";

    readonly TemporaryFolder _folder = new();

    public SoftwareDeviceTests()
    {
        _folder.File("small.yaml", Model);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 40).Select(i => $"line {i % 7}: the quick brown fox jumps over dog {i % 13}.\n")));
        JsonNode finding = Run("doctor --json").Json["findings"]!.AsArray().First(found => (string)found!["subject"]! == "software CUDA")!;
        if ((string)finding["verdict"]! != "good")
        {
            Assert.Skip($"{finding["text"]}; fix: {finding["fix"]}");
        }

        Assert.StartsWith("--device softcuda:0 is software CUDA device 0", (string)finding["text"]!, StringComparison.Ordinal);
    }

    EngineResult Run(string line) => EngineProcess.Run(_folder.Path, line.Split(' '));

    RunFiles Files(string run) => new(Path.Combine(_folder.Path, run));

    static double[] Parse(string[] losses) => [.. losses.Select(text => double.Parse(text, CultureInfo.InvariantCulture))];

    [Fact]
    public void Checkpoint_OfOneDevice_GoesOnOnTheOther()
    {
        Run($"train {Settings} --steps 4 --out straight").Succeeded();
        Run($"train {Settings} --steps 2 --out moved").Succeeded();
        EngineResult resumed = Run("train --resume moved --steps 4 --device softcuda:0").Succeeded();
        Assert.Contains("softcuda:0 (software CUDA device 0)", resumed.Output, StringComparison.Ordinal);
        Assert.Contains("\"device\":\"softcuda:0 (software", File.ReadAllText(Path.Combine(_folder.Path, "moved", "events.jsonl")), StringComparison.Ordinal);

        // four blocks' worth of roundings of 2^-8/sqrt(6) in quadrature (WholeModelTests) on a loss that has moved by about one nat
        double[] straight = Parse(Files("straight").Losses), moved = Parse(Files("moved").Losses);
        Assert.Equal(straight[..2], moved[..2]);
        Assert.All(straight.Zip(moved), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, 0.02));
        Run("train --resume moved --steps 5 --device cpu").Succeeded();

        double[] evaluated = [.. new[] { "cpu", "softcuda:0" }.Select(device =>
            (double)Run($"eval --checkpoint moved --data text.txt --sequence 32 --device {device} --json").Succeeded().Json["loss"]!)];
        Assert.InRange(Math.Abs(evaluated[0] - evaluated[1]), 0, 0.02);
        string text = Run("generate --checkpoint moved --prompt line --tokens 12 --seed 3 --device softcuda:0").Succeeded().Output;
        Assert.StartsWith("line", text, StringComparison.Ordinal);
        Assert.Equal(text, Run("generate --checkpoint moved --prompt line --tokens 12 --seed 3 --device softcuda:0").Succeeded().Output);
        Run("export --checkpoint moved --out hf").Succeeded();
    }

    // Two processes want one kernel at the same time, and nobody has compiled it; then the file is damaged, and another compiler comes.
    [Fact]
    public void Kernels_TwoProcessesAndOneEmptyCache_LeaveOneWholeFile()
    {
        string cache = Path.Combine(_folder.Path, "cubin"), newer = _folder.File("newer-g++", "#!/bin/sh\ncase \"$*\" in *-dumpfullversion*) echo 99.1 ;; *) exec g++ \"$@\" ;; esac\n");
        File.SetUnixFileMode(newer, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        Process Start(string line, string compiler = "g++") => EngineProcess.Start(_folder.Path, [("ORION_CUBIN_CACHE", cache), ("ORION_CXX", compiler)], line.Split(' '));
        Process[] both = [.. Enumerable.Range(0, 2).Select(_ => Start("kernels check --device softcuda:0 --kernel silu_forward"))];
        foreach (Process process in both)
        {
            using (process)
            {
                string output = EngineProcess.End(process, TimeSpan.FromMinutes(1)).Succeeded().Output;
                Assert.StartsWith("softcuda:0: software CUDA device 0, which is no GPU", output, StringComparison.Ordinal);
                Assert.Contains("1 kernel, 5 shapes: all within their tolerances", output, StringComparison.Ordinal);
            }
        }

        string file = Assert.Single(Directory.GetFiles(cache));
        byte[] whole = File.ReadAllBytes(file);
        File.WriteAllBytes(file, whole[..^1]);
        using Process bench = Start("kernels bench --device softcuda:0 --kernel silu_forward --size 1 --json");
        JsonObject timed = EngineProcess.End(bench, TimeSpan.FromMinutes(1)).Succeeded().Json;
        Assert.Equal(whole.Length, new FileInfo(Assert.Single(Directory.GetFiles(cache))).Length);
        Assert.Equal((true, "software CUDA device 0"), ((bool)timed["software"]!, (string)timed["name"]!));
        JsonNode row = Assert.Single(timed["kernels"]!.AsArray())!;
        Assert.Equal("silu_forward", (string)row["kernel"]!);
        double ratio = (double)row["bytes"]! / ((double)row["timeUsMedian"]! * 1e-6) / (double)row["copyBytesPerSecond"]!;
        Assert.Equal(ratio, (double)row["ratio"]!, 1e-9 * ratio);

        using Process other = Start("kernels check --device softcuda:0 --kernel silu_forward", newer);
        EngineProcess.End(other, TimeSpan.FromMinutes(1)).Succeeded();
        Assert.Equal(2, Directory.GetFiles(cache).Length);
    }

    [Fact]
    public void Swarm_OnSoftwareDevices_EqualsTheSingleProcessToTheBit()
    {
        SkipWithoutQuic();
        string line = $"train {Settings} --steps 3 --boundary none --wire fp32 --device softcuda:0";
        Run($"{line} --out one").Succeeded();
        Run($"{line} --stages 2 --offload all --out two").Succeeded();
        Assert.Equal(Files("one").Losses, Files("two").Losses);
        Assert.Equal(Files("one").WeightHashes, Files("two").WeightHashes);
    }

    [Fact]
    public void Swarm_OfACardAndAProcessor_TrainsOneModel()
    {
        SkipWithoutQuic();
        using SwarmOfMachines swarm = new(_folder);
        string line = $"{Settings} --steps 4 --boundary none --wire bf16";
        Run($"train {line} --out one").Succeeded();
        Process orchestrator = swarm.Orchestrate($"{line} --stages 2 --replicas 1 --out far");
        swarm.Join("card", "--device softcuda:0");
        swarm.Join("processor", "--device cpu");
        Assert.True(swarm.StatusOf(orchestrator) == 0, swarm.Log);
        double[] one = Parse(Files("one").Losses), far = Parse(Files("far").Losses);
        Assert.Equal(one.Length, far.Length);
        Assert.True(far[^1] < far[0], swarm.Log);
        // half of the model computes in bf16: as above
        Assert.All(one.Zip(far), pair => Assert.InRange(Math.Abs(pair.First - pair.Second), 0, 0.02));
        Assert.Contains("softcuda:0 (software", swarm.Log, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("softcuda:9", 2, "device 'softcuda:9' is not on this machine")]
    [InlineData("softcud:0", 2, "did you mean 'softcuda'?")]
    [InlineData("gpu", 2, "it can be cpu, cuda:0 or softcuda:0")]
    [InlineData("cuda:0", 3, "install the NVIDIA driver")]
    public void Device_ThatIsNotThere_IsNamedWithTheFix(string device, int status, string said)
    {
        if (device == "cuda:0" && (string)Run("doctor --json").Json["findings"]!.AsArray().First(found => (string)found!["subject"]! == "CUDA")!["verdict"]! == "good")
        {
            Assert.Skip("this machine has a card: nothing is missing");
        }

        EngineResult result = Run($"train {Settings} --steps 1 --device {device} --out run");
        Assert.Contains(said, result.Error, StringComparison.Ordinal);
        Assert.Equal(status, result.Status);
        Assert.DoesNotContain("   at ", result.Error, StringComparison.Ordinal);
    }

    static void SkipWithoutQuic()
    {
        if (!System.Runtime.InteropServices.NativeLibrary.TryLoad("libngtcp2.so.16", out _))
        {
            Assert.Skip("libngtcp2.so.16 is not on this machine; run this through ./orion test, which fetches it");
        }
    }

    public void Dispose() => _folder.Dispose();
}
