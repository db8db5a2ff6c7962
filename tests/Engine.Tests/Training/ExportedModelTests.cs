// An exported checkpoint means the same to a program that shares nothing with this one: tests/golden/eval_export.py, a plain
// PyTorch Llama, finds the loss that we find.
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Data;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Tests.Tidy;

namespace OrionNative.Engine.Tests.Training;

public class ExportedModelTests
{
    const string Python = "/usr/bin/python3";
    const int Tokens = 32;

    [Theory]
    [InlineData(BoundaryKind.None, 1)]
    [InlineData(BoundaryKind.Resbm, 2)]
    [InlineData(BoundaryKind.Anchored, 2)]
    public void Export_EvaluatedByPyTorch_HasOurLoss(BoundaryKind boundary, int stages)
    {
        if (!HasTorch())
        {
            Assert.Skip($"{Python} has no torch; install it with: apt-get install python3-torch");
        }

        using TemporaryFolder folder = new();
        string text = folder.Write("text.txt", Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 300).Select(i => $"{i} squared is {i * i}. "))));
        string model = folder.Write("model.yaml", "width: 32\nlayers: 3\nquery-heads: 4\nkv-heads: 2\nhead-width: 8\nfeed-forward: 48\ncontext: 64\n"u8);
        ResolvedRun run = ResolvedRun.From(new RunConfig
        {
            Model = model,
            Data = [text],
            Stages = stages,
            Boundary = boundary,
            CodeWidth = 6,
            Wire = WireFormat.Float32,
            LearningRate = 1e-2,
            MicrobatchSize = 4,
            Sequence = Tokens,
            Steps = 20,
        });
        using TokenDataset dataset = DataPreparer.Open(run.Config.Data, run.Tokenizer, folder["cache"], cancellation: TestContext.Current.CancellationToken);
        TokenWindows windows = new(dataset, Tokens);
        using CpuDevice device = new(2);
        using Trainer trainer = new(run.Model, run.Config, device, new DatasetBatches(windows, run.Config));
        for (int i = 0; i < run.Config.Steps; i++)
        {
            trainer.Step();
        }

        string saved = RunCheckpoint.Save(new CheckpointStore(folder["run"]), run, trainer, dataHash: "");
        using (CheckpointReader checkpoint = CheckpointReader.Open(saved))
        {
            HuggingFaceExport.Write(checkpoint, folder["export"]);
        }

        using Evaluator evaluator = new(trainer.Parameters, 8, Tokens, WireFormat.Float32);
        EvaluationResult ours = evaluator.Evaluate(windows, interrupt: TestContext.Current.CancellationToken);
        JsonElement theirs = Evaluate(folder["export"], text);
        Assert.Equal(ours.Tokens, theirs.GetProperty("tokens").GetInt64());
        Assert.Equal(theirs.GetProperty("loss").GetDouble(), ours.Loss, 1e-4);
        Assert.True(ours.Loss < 4, $"the model has learned nothing to compare: loss {ours.Loss}");
        TestContext.Current.TestOutputHelper?.WriteLine($"{boundary}: ours {ours.Loss:F7}, PyTorch {theirs.GetProperty("loss").GetDouble():F7}");
    }

    static bool HasTorch() => File.Exists(Python) && RunPython("-c", "import torch").Status == 0;

    static JsonElement Evaluate(string directory, string text)
    {
        string script = Path.Combine(Repository.Root, "tests", "golden", "eval_export.py");
        (int status, string output, string errors) = RunPython(script, directory, text, "--sequence", Tokens.ToString(CultureInfo.InvariantCulture));
        Assert.True(status == 0, errors);
        return JsonDocument.Parse(output).RootElement;
    }

    static (int Status, string Output, string Errors) RunPython(params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(Python, ["-B", .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, errors.Result);
    }
}
