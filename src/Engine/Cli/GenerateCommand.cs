// generate: text from a checkpoint, token by token as it is drawn.
using System.CommandLine;
using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class GenerateCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("generate", "Write text with a checkpoint.",
            "generate --checkpoint runs/0001 --prompt \"Once upon a time\"",
            "generate --checkpoint runs/0001 --prompt ROMEO: --tokens 400 --temperature 0.8 --top-p 0.95 --seed 7",
            "generate --checkpoint runs/0001 --prompt \"def \" --temperature 0 --json");
        CheckpointOptions checkpoint = new(command);
        Option<string> prompt = new("--prompt") { Description = "text to go on from", Required = true };
        Option<int> tokens = new("--tokens") { Description = "tokens to write at most", DefaultValueFactory = _ => 200 };
        Option<double> temperature = new("--temperature") { Description = "0 takes the likeliest token, 1 the model's own distribution", DefaultValueFactory = _ => 0.8 };
        Option<int> topK = new("--top-k") { Description = "draw from the k likeliest tokens; 0: from all" };
        Option<double> topP = new("--top-p") { Description = "draw from the fewest tokens that hold this probability", DefaultValueFactory = _ => 1 };
        Option<long> seed = new("--seed") { Description = "seed of the draws; one seed gives one text", DefaultValueFactory = _ => 1 };
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[prompt, tokens, temperature, topK, topP, seed, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            SamplingOptions sampling = new(
                InRange("temperature", parsed.GetValue(temperature), 0, 100), (int)InRange("top-k", parsed.GetValue(topK), 0, int.MaxValue),
                InRange("top-p", parsed.GetValue(topP), 1e-6, 1), parsed.GetValue(seed));
            CommandOutput output = new(parsed.GetValue(json));
            using LoadedModel loaded = checkpoint.Open(parsed);
            return Generate(loaded, parsed.GetRequiredValue(prompt), (int)InRange("tokens", parsed.GetValue(tokens), 1, int.MaxValue), sampling, output);
        });
        return command;
    }

    static int Generate(LoadedModel loaded, string prompt, int count, SamplingOptions sampling, CommandOutput output)
    {
        using Interrupt interrupt = new(Console.Error, "");
        using Generator generator = new(loaded.Parameters);
        int[] start = [.. loaded.Tokenizer.Encode(prompt)];
        long began = TimeProvider.System.GetTimestamp();
        Decoder utf8 = Encoding.UTF8.GetDecoder();
        StringBuilder text = new(prompt);
        output.Text.Write(prompt);
        char[] characters = new char[256];
        int written = 0;
        foreach (int token in generator.Generate(start, count, sampling))
        {
            byte[] bytes = loaded.Tokenizer.Decode([token]);
            string piece = new(characters, 0, utf8.GetChars(bytes, characters, flush: false));
            output.Text.Write(piece);
            text.Append(piece);
            written++;
            if (interrupt.Token.IsCancellationRequested)
            {
                break;
            }
        }

        output.Text.WriteLine();
        double seconds = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
        output.Result(new JsonObject
        {
            ["text"] = text.ToString(),
            ["promptTokens"] = start.Length,
            ["tokens"] = written,
            ["seconds"] = seconds,
            ["tokensPerSecond"] = written / seconds,
            ["checkpoint"] = loaded.Folder,
        });
        return interrupt.Token.IsCancellationRequested ? ExitStatus.Interrupted : ExitStatus.Done;
    }

    static double InRange(string name, double value, double least, double most) =>
        value >= least && value <= most
            ? value
            : throw new ConfigurationException($"{name} {value} does not lie between {least} and {most}");
}
