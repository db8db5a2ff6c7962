// The commands as a person runs them: a process, its standard output, its status.
using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Tests.Checkpoint;

namespace OrionNative.Engine.Tests.Data;

public class DataCommandsTests
{
    internal static (int Status, string Out, string Error) Engine(TemporaryFolder folder, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "orion-engine.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder.Path,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.GetAwaiter().GetResult());
    }

    [Fact]
    public void TextToTokenizerToShards_WithJson_EachPrintsOneObject()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", Encoding.UTF8.GetBytes(BpeTests.Text));
        (int status, string output, _) = Engine(folder, "tokenizer", "train", "--data", "a.txt", "--vocabulary", "300", "--special", "<|end|>", "--out", "t.json", "--json");
        Assert.Equal(0, status);
        Assert.Equal(300, (int)JsonNode.Parse(output)!["vocabulary"]!);

        (status, output, _) = Engine(folder, "data", "prepare", "--data", "a.txt", "--tokenizer", "t.json", "--document-end", "<|end|>", "--out", "p", "--json");
        Assert.Equal(0, status);
        long tokens = (long)JsonNode.Parse(output)!["tokens"]!;

        (status, output, _) = Engine(folder, "inspect", "p", "--json");
        Assert.Equal(0, status);
        Assert.Equal(tokens, (long)JsonNode.Parse(output)!["tokens"]!);
        (status, output, _) = Engine(folder, "inspect", "t.json", "--json");
        Assert.Equal(0, status);
        Assert.Equal(299, (int)JsonNode.Parse(output)!["specialTokens"]!["<|end|>"]!);
    }

    [Fact]
    public void Mistakes_GiveOneSentenceAndTheirStatus()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", "abc"u8);
        folder.Write("bad.json", "{}"u8);
        void Fails(int expected, string sentence, params string[] arguments)
        {
            (int status, string output, string error) = Engine(folder, arguments);
            JsonNode failure = JsonNode.Parse(output)!;
            Assert.Contains(sentence, (string)failure["error"]!);
            Assert.Equal(expected, (int)failure["exitCode"]!);
            Assert.Contains(sentence, error);
            Assert.Equal(expected, status);
            Assert.DoesNotContain("   at ", error);
        }
        Fails(2, "no file or folder 'none.txt'", "data", "prepare", "--data", "none.txt", "--out", "p", "--json");
        Fails(2, "no tokenizer 'none.json'", "data", "prepare", "--data", "a.txt", "--tokenizer", "none.json", "--out", "p", "--json");
        Fails(1, "bad.json is not a tokenizer.json", "inspect", "bad.json", "--json");
        Fails(2, "too few repeated pairs", "tokenizer", "train", "--data", "a.txt", "--json");
        Fails(2, "neither a checkpoint", "export", "--checkpoint", ".", "--out", "x", "--json");
        Fails(2, "unknown option '--vocabulry'", "tokenizer", "train", "--data", "a.txt", "--vocabulry", "512", "--json");
    }

    [Fact]
    public void Checkpoint_InspectAndExport_ThenAlteredIsNamed()
    {
        using var folder = new TemporaryFolder();
        string saved = HuggingFaceExportTests.SaveCheckpoint(folder, HuggingFaceExportTests.Plain);
        (int status, string output, _) = Engine(folder, "inspect", "run", "--tensors", "--json");
        Assert.Equal(0, status);
        Assert.Equal(7, (int)JsonNode.Parse(output)!["step"]!);
        Assert.Contains(JsonNode.Parse(output)!["tensors"]!.AsArray(), tensor => (string?)tensor!["name"] == "model.layers.2.mlp.down_proj.weight");

        (status, output, _) = Engine(folder, "export", "--checkpoint", "run", "--type", "bf16", "--out", "hf", "--json");
        Assert.Equal(0, status);
        Assert.Equal(HuggingFaceExportTests.Plain.Parameters, (long)JsonNode.Parse(output)!["parameters"]!);
        (status, output, _) = Engine(folder, "inspect", "hf/model.safetensors", "--json");
        Assert.Equal(HuggingFaceExportTests.Plain.Parameters, (long)JsonNode.Parse(output)!["elements"]!);

        byte[] layer = File.ReadAllBytes(Path.Combine(saved, "layer-001.safetensors"));
        layer[^1] ^= 1;
        File.WriteAllBytes(Path.Combine(saved, "layer-001.safetensors"), layer);
        (status, output, string error) = Engine(folder, "export", "--checkpoint", "run", "--out", "again", "--json");
        Assert.Equal(1, status);
        Assert.Contains("layer-001.safetensors was altered", (string)JsonNode.Parse(output)!["error"]!);
        Assert.Contains("layer-001.safetensors was altered", error);
        Assert.False(Directory.Exists(folder["again"]));
    }
}
