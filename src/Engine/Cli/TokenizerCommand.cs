// tokenizer train: text to a byte-level BPE tokenizer in Hugging Face's tokenizer.json form.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;
using OrionNative.Engine.Run;
using OrionNative.Engine.Storage;

namespace OrionNative.Engine.Cli;

static class TokenizerCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("tokenizer", "Train a tokenizer.", "tokenizer train --data corpus.txt --vocabulary 4096 --out tokenizer.json");
        command.Add(Train());
        return command;
    }

    static ExampleCommand Train()
    {
        ExampleCommand command = new("train", "Train a byte-level BPE tokenizer on text.",
            "tokenizer train --data corpus.txt --vocabulary 4096 --out tokenizer.json",
            "tokenizer train --data 'docs/**/*.md,news.jsonl' --field body --vocabulary 32000 --special '<|end_of_text|>' --out tokenizer.json");
        CorpusOptions corpus = new(command);
        Option<int> vocabulary = new Option<int>("--vocabulary") { Description = "ids in all, the 256 bytes and special tokens included", DefaultValueFactory = _ => 4096 }.Between(256, 1 << 24);
        Option<string> pattern = new("--pattern") { Description = "where text is cut before merging", DefaultValueFactory = _ => "llama3" };
        pattern.AcceptOnlyFromAmong("llama3", "gpt2", "none");
        Option<string> special = new("--special") { Description = "special tokens, separated by commas; they get the last ids", DefaultValueFactory = _ => "" };
        Option<string> file = new("--out") { Description = "the file to write", HelpName = "file", DefaultValueFactory = _ => "tokenizer.json" };
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[vocabulary, pattern, special, file, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            using Interrupt interrupt = new(output.Text, "stopping; nothing was written");
            CorpusReader text = corpus.Open(parsed);
            BpeTrainingOptions options = new()
            {
                VocabularySize = parsed.GetValue(vocabulary),
                Pattern = Enum.Parse<PreTokenizerPattern>(parsed.GetRequiredValue(pattern), ignoreCase: true),
                SpecialTokens = parsed.GetRequiredValue(special).Split(',', StringSplitOptions.RemoveEmptyEntries),
                Threads = corpus.Threads(parsed),
            };
            string path = parsed.GetRequiredValue(file);
            if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } folder && !Directory.Exists(folder))
            {
                throw new ConfigurationException($"--out '{path}': there is no folder '{folder}'; make it first");
            }

            long began = TimeProvider.System.GetTimestamp();
            Action<long>? counted = ProgressLine.For(output, "bytes counted", text.Bytes);
            Action<long>? made = ProgressLine.For(output, "tokens made", options.VocabularySize - options.SpecialTokens.Count);
            BpeTokenizer tokenizer = BpeTrainer.Train(text, options, progress =>
            {
                if (progress.TokensMade == 0)
                {
                    counted?.Invoke(progress.BytesCounted);
                }
                else
                {
                    made?.Invoke(progress.TokensMade);
                }
            }, interrupt.Token);
            DurableFiles.Replace(path, tokenizer.ToJson());
            double seconds = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
            output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{path}: {tokenizer.VocabularySize:N0} ids from {text.Bytes:N0} bytes in {text.Files.Count} file(s), {seconds:F1} s, hash {tokenizer.Hash[..12]}"));
            output.Result(new JsonObject
            {
                ["tokenizer"] = path,
                ["vocabulary"] = tokenizer.VocabularySize,
                ["merges"] = tokenizer.Model.Merges.Count,
                ["hash"] = tokenizer.Hash,
                ["bytes"] = text.Bytes,
                ["seconds"] = seconds,
            });
            return ExitStatus.Done;
        });
        return command;
    }
}
