using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;

namespace OrionNative.EndToEnd.Tests;

public sealed class TrainingTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public TrainingTests() =>
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 3000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));

    EngineResult Run(string line) => EngineProcess.Run(_folder.Path, line.Split(' '));

    const string Small = "--data text.txt --sequence 64 --microbatch-size 4 --seed 7";

    [Fact]
    public void Train_ThenEvalGenerateExportInspect_EachGivesWhatItPromises()
    {
        EngineResult trained = Run($"train {Small} --steps 40 --lr 3e-3 --out run --json").Succeeded();
        Assert.True((double)trained.Json["loss"]! < 3.5, trained.Output);
        Assert.True(File.Exists(Path.Combine(_folder.Path, "run", "run.yaml")));
        Assert.Equal(40, File.ReadLines(Path.Combine(_folder.Path, "run", "metrics.jsonl")).Count());
        string[] keys = ["step", "loss", "lr", "gradNorm", "tokens", "seconds", "tokensPerSecond", "mfu", "bytesSent", "bytesReceived"];
        JsonObject line = JsonNode.Parse(File.ReadLines(Path.Combine(_folder.Path, "run", "metrics.jsonl")).Last())!.AsObject();
        Assert.All(keys, key => Assert.True(line.ContainsKey(key), key));

        JsonObject eval = Run("eval --checkpoint run --data text.txt --sequence 64 --json").Succeeded().Json;
        Assert.Equal(Math.Exp((double)eval["loss"]!), (double)eval["perplexity"]!, 1e-6 * (double)eval["perplexity"]!);
        long bytes = new FileInfo(Path.Combine(_folder.Path, "text.txt")).Length;
        Assert.Equal((bytes - 1) / 64 * 64, (long)eval["tokens"]!);

        string first = Run("generate --checkpoint run --prompt line --tokens 20 --seed 3").Succeeded().Output;
        Assert.StartsWith("line", first);
        Assert.Equal(first, Run("generate --checkpoint run --prompt line --tokens 20 --seed 3").Succeeded().Output);

        Run("export --checkpoint run --out hf").Succeeded();
        Assert.All(new[] { "config.json", "model.safetensors", "tokenizer.json" }, file => Assert.True(File.Exists(Path.Combine(_folder.Path, "hf", file)), file));
        Assert.Contains("model.embed_tokens.weight", Run("inspect run --tensors").Succeeded().Output);
    }

    [Fact]
    public void Resume_AfterAStop_GivesTheSameLossesToTheBit()
    {
        Run($"train {Small} --steps 12 --checkpoint-every 6 --out straight").Succeeded();
        Run($"train {Small} --steps 12 --checkpoint-every 6 --out cut").Succeeded();
        // goes back to step 6 as if the process had died after that checkpoint
        string newest = Path.Combine(_folder.Path, "cut", "checkpoints", "step-00000012");
        Directory.Delete(newest, recursive: true);
        File.WriteAllText(Path.Combine(_folder.Path, "cut", "latest"), "step-00000006\n");
        // from another folder: the names in run.yaml mean the same everywhere
        string elsewhere = Directory.CreateDirectory(Path.Combine(_folder.Path, "elsewhere")).FullName;
        EngineProcess.Run(elsewhere, "train", "--resume", Path.Combine(_folder.Path, "cut")).Succeeded();
        Assert.Equal(Losses("straight"), Losses("cut"));

        JsonObject state = JsonNode.Parse(File.ReadAllText(Path.Combine(_folder.Path, "cut", "checkpoints", "step-00000012", "manifest.json")))!["state"]!.AsObject();
        Assert.Equal(12 * 4, (int)state["dataPosition"]!);

        // other data is not refused, and not gone on with in silence
        string text = Path.Combine(_folder.Path, "text.txt"), kept = File.ReadAllText(text);
        File.WriteAllText(text, kept.Replace("fox", "cow", StringComparison.Ordinal));
        Assert.Contains("differs from what this run read up to step 12", Run("train --resume cut --steps 13").Succeeded().Output);
        Assert.Contains("dataChanged", Run("events --run cut").Succeeded().Output);
        File.WriteAllText(text, kept);

        // as if it had died before its first checkpoint
        Directory.Delete(Path.Combine(_folder.Path, "cut", "checkpoints"), recursive: true);
        File.Delete(Path.Combine(_folder.Path, "cut", "latest"));
        Assert.Contains("no checkpoint yet", Run("train --resume cut --steps 12").Succeeded().Output);
        Assert.Equal(Losses("straight"), Losses("cut"));
    }

    [Fact]
    public void Interrupt_WhileTraining_SavesAndSaysHowToGoOn()
    {
        using Process process = EngineProcess.Start(_folder.Path, $"train {Small} --steps 100000 --out run".Split(' '));
        while (process.StandardOutput.ReadLine() is { } line && !line.StartsWith("step", StringComparison.Ordinal))
        {
        }

        Assert.Contains("the run in run trains in one process", Run("status --run run").Error);
        EngineProcess.Interrupt(process.Id);
        EngineResult ended = EngineProcess.End(process, TimeSpan.FromSeconds(30));
        string rest = ended.Output + ended.Error;
        Assert.Equal(130, ended.Status);
        Assert.Contains("--resume", rest);
        Assert.True(File.Exists(Path.Combine(_folder.Path, "run", "latest")));
    }

    [Fact]
    public void Train_IntoAFolderThatIsNotEmpty_IsRefused()
    {
        Run($"train {Small} --steps 1 --out run").Succeeded();
        EngineResult again = Run($"train {Small} --steps 1 --out run");
        Assert.Equal(2, again.Status);
        Assert.Contains("--resume", again.Error);
    }

    [Fact]
    public void Resume_OfARunThatIsDone_AsksForMoreStepsAndChangesNothing()
    {
        Run($"train {Small} --steps 2 --out run").Succeeded();
        string config = File.ReadAllText(Path.Combine(_folder.Path, "run", "run.yaml"));
        EngineResult less = Run("train --resume run --steps 1");
        Assert.Equal(2, less.Status);
        Assert.Contains("has done 2 steps and is asked for 1; ask for more with --steps", less.Error);
        Assert.Equal(config, File.ReadAllText(Path.Combine(_folder.Path, "run", "run.yaml")));
        Assert.Contains("finished", Run("events --run run").Succeeded().Output);
    }

    [Fact]
    public void Eval_OnAnAlteredCheckpoint_NamesTheFile()
    {
        Run($"train {Small} --steps 1 --out run").Succeeded();
        string file = Directory.GetFiles(Path.Combine(_folder.Path, "run", "checkpoints", "step-00000001"), "*.safetensors").Order(StringComparer.Ordinal).First();
        byte[] content = File.ReadAllBytes(file);
        content[^1] ^= 1;
        File.WriteAllBytes(file, content);
        EngineResult result = Run("eval --checkpoint run --data text.txt --sequence 64");
        Assert.Equal(1, result.Status);
        Assert.Contains(Path.GetFileName(file), result.Error);
        Assert.DoesNotContain("   at ", result.Error);
    }

    [Fact]
    public void Train_WhoseLossIsNotFinite_StopsAndKeepsTheLastGoodCheckpoint()
    {
        // lr * decay = 100 multiplies every matrix by -99 a step: past the range of a float within twenty
        EngineResult result = Run($"train {Small} --steps 200 --lr 10 --clip 0 --warmup 0 --weight-decay 10 --checkpoint-every 1 --keep 1 --out run");
        Assert.Equal(1, result.Status);
        Assert.Contains("is not finite", result.Error);
        Assert.True(File.Exists(Path.Combine(_folder.Path, "run", "latest")));
    }

    string[] Losses(string run) =>
        [.. File.ReadLines(Path.Combine(_folder.Path, run, "metrics.jsonl")).Select(line => ((double)JsonNode.Parse(line)!["loss"]!).ToString("R", CultureInfo.InvariantCulture))];

    public void Dispose() => _folder.Dispose();
}
