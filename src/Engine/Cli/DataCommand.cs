// data prepare: text to memory-mapped token shards, which `train` and `eval` read without encoding again.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class DataCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("data", "Prepare data.", "data prepare --data corpus.txt --tokenizer tokenizer.json --out prepared");
        command.Add(Prepare());
        return command;
    }

    static ExampleCommand Prepare()
    {
        ExampleCommand command = new("prepare", "Encode text into token shards.",
            "data prepare --data corpus.txt --tokenizer tokenizer.json --out prepared",
            "data prepare --data 'news/*.jsonl' --field body --tokenizer tokenizer.json --document-end '<|end_of_text|>' --out prepared");
        CorpusOptions corpus = new(command);
        Option<string> tokenizerPath = new("--tokenizer") { Description = "byte, or the path of a tokenizer.json", DefaultValueFactory = _ => "byte" };
        Option<string> folder = new("--out") { Description = "the folder to write", HelpName = "directory", Required = true };
        Option<string?> documentEnd = new("--document-end") { Description = "a special token put after every document" };
        Option<long> shardTokens = new Option<long>("--shard-tokens") { Description = "a shard is closed once it has this many tokens", DefaultValueFactory = _ => new PrepareOptions().ShardTokensMax }.Between(1, long.MaxValue);
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[tokenizerPath, folder, documentEnd, shardTokens, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            if (File.Exists(parsed.GetRequiredValue(folder)))
            {
                throw new ConfigurationException($"--out '{parsed.GetRequiredValue(folder)}' is a file; name a folder");
            }

            using Interrupt interrupt = new(output.Text, "stopping; the folder is not usable before it is whole");
            string path = parsed.GetRequiredValue(tokenizerPath);
            ITokenizer tokenizer = path == "byte" ? ByteTokenizer.Instance : TokenizerJson.Load(path);
            PrepareOptions options = new()
            {
                Threads = corpus.Threads(parsed),
                ShardTokensMax = parsed.GetValue(shardTokens),
                DocumentEnd = IdOf(tokenizer, parsed.GetValue(documentEnd)),
            };
            CorpusReader text = corpus.Open(parsed);
            long began = TimeProvider.System.GetTimestamp();
            Action<long>? progress = ProgressLine.For(output, "bytes", text.Bytes);
            DatasetManifest dataset = DataPreparer.Prepare(text, tokenizer, parsed.GetRequiredValue(folder), options, step => progress?.Invoke(step.BytesDone), interrupt.Token);
            double seconds = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
            output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{parsed.GetRequiredValue(folder)}: {dataset.TokenCount:N0} tokens from {dataset.CorpusBytes:N0} bytes ({(double)dataset.CorpusBytes / dataset.TokenCount:F2} bytes a token), {dataset.Documents:N0} document(s), {dataset.Shards.Count} shard(s), {seconds:F1} s"));
            output.Result(new JsonObject
            {
                ["dataset"] = parsed.GetRequiredValue(folder),
                ["tokens"] = dataset.TokenCount,
                ["bytes"] = dataset.CorpusBytes,
                ["documents"] = dataset.Documents,
                ["shards"] = dataset.Shards.Count,
                ["vocabulary"] = dataset.VocabularySize,
                ["tokenizerHash"] = dataset.TokenizerHash,
                ["seconds"] = seconds,
            });
            return ExitStatus.Done;
        });
        return command;
    }

    static int? IdOf(ITokenizer tokenizer, string? special)
    {
        if (special is null)
        {
            return null;
        }

        return tokenizer.SpecialTokens.TryGetValue(special, out int id)
            ? id
            : throw new ConfigurationException($"--document-end '{special}' is not a special token of the tokenizer, which has {(tokenizer.SpecialTokens.Count == 0 ? "none" : string.Join(", ", tokenizer.SpecialTokens.Keys))}{NearestName.Hint(special, [.. tokenizer.SpecialTokens.Keys])}");
    }
}
