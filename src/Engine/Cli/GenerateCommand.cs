// generate: text from a checkpoint, token by token as it is drawn.
using System.CommandLine;
using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Model;

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
        Option<int> tokens = new Option<int>("--tokens") { Description = "tokens to write at most", DefaultValueFactory = _ => 200 }.Between(1, int.MaxValue);
        Option<double> temperature = new Option<double>("--temperature") { Description = "0 takes the likeliest token, 1 the model's own distribution", DefaultValueFactory = _ => 0.8 }.Between(0, 100);
        Option<int> topK = new Option<int>("--top-k") { Description = "draw from the k likeliest tokens; 0: from all" }.Between(0, int.MaxValue);
        Option<double> topP = new Option<double>("--top-p") { Description = "draw from the fewest tokens that hold this probability", DefaultValueFactory = _ => 1 }.Between(1e-6, 1);
        Option<long> seed = new("--seed") { Description = "seed of the draws; one seed gives one text", DefaultValueFactory = _ => 1 };
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[prompt, tokens, temperature, topK, topP, seed, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            SamplingOptions sampling = new(parsed.GetValue(temperature), parsed.GetValue(topK), parsed.GetValue(topP), parsed.GetValue(seed));
            CommandOutput output = new(parsed.GetValue(json));
            using LoadedModel loaded = checkpoint.Open(parsed);
            return Generate(loaded, parsed.GetRequiredValue(prompt), parsed.GetValue(tokens), sampling, output);
        });
        return command;
    }

    static int Generate(LoadedModel loaded, string prompt, int count, SamplingOptions sampling, CommandOutput output)
    {
        using Interrupt interrupt = new(Console.Error, "");
        using Generator generator = new(loaded.Parameters, loaded.Wire);
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
}
