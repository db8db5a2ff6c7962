// eval: the loss of a checkpoint on a text, over non-overlapping windows.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;

namespace OrionNative.Engine.Cli;

static class EvalCommand
{
    const int SequencesMax = 8;

    public static Command Create()
    {
        ExampleCommand command = new("eval", "Measure the loss of a checkpoint on a text.",
            "eval --checkpoint runs/0001 --data valid.txt",
            "eval --checkpoint runs/0001/checkpoints/step-00000100 --data valid.jsonl --field text --sequence 512 --json");
        CheckpointOptions checkpoint = new(command);
        Option<string> data = new("--data") { Description = "text or token shards: files, folders, globs, separated by commas", Required = true };
        Option<string> field = new("--field") { Description = "field of a .jsonl line that holds the text", DefaultValueFactory = _ => "text" };
        Option<int> sequence = new Option<int>("--sequence") { Description = "inputs of a window; 0: the smaller of 256 and the model's context" }.Between(0, int.MaxValue);
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(data);
        command.Add(field);
        command.Add(sequence);
        command.Add(json);
        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            using Interrupt interrupt = new(output.Text, "stopping");
            using LoadedModel loaded = checkpoint.Open(parsed);
            int length = parsed.GetValue(sequence) is > 0 and int given ? given : Math.Min(ResolvedRun.SequenceDefault, loaded.Model.Context);
            if (length > loaded.Model.Context)
            {
                throw new ConfigurationException($"sequence {length} is longer than the model's context {loaded.Model.Context}");
            }

            string[] files = parsed.GetRequiredValue(data).Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            using TokenDataset dataset = DataPreparer.Open(files, loaded.Tokenizer, TrainingRun.CacheFolder, parsed.GetRequiredValue(field));
            TokenWindows windows = new(dataset, length);
            long began = TimeProvider.System.GetTimestamp();
            using Evaluator evaluator = new(loaded.Parameters, (int)Math.Min(SequencesMax, windows.Count), length, loaded.Wire);
            (double loss, long tokens) = evaluator.Evaluate(windows, long.MaxValue, ProgressLine.For(output, "windows", windows.Count), interrupt.Token);
            double seconds = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
            output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"loss {loss:F4} nats per token, perplexity {Math.Exp(loss):F2}, {tokens:N0} tokens at {tokens / seconds:N0} tok/s, step {loaded.Step}"));
            output.Result(new JsonObject
            {
                ["loss"] = loss,
                ["perplexity"] = Math.Exp(loss),
                ["tokens"] = tokens,
                ["sequence"] = length,
                ["step"] = loaded.Step,
                ["checkpoint"] = loaded.Folder,
                ["seconds"] = seconds,
            });
            return ExitStatus.Done;
        });
        return command;
    }
}
