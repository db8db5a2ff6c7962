// The flags that name text, shared by `tokenizer train` and `data prepare`.
using System.CommandLine;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Cli;

sealed class CorpusOptions
{
    readonly Option<string> _data = new("--data") { Description = "text (.txt, .jsonl): files, folders, globs, separated by commas", Required = true };
    readonly Option<string> _field = new("--field") { Description = "field of a .jsonl line that holds the text", DefaultValueFactory = _ => "text" };
    readonly Option<int> _threads = new Option<int>("--threads") { Description = "CPU threads; 0: every processor" }.Between(0, 4096);

    public CorpusOptions(Command command)
    {
        command.Add(_data);
        command.Add(_field);
        command.Add(_threads);
    }

    public CorpusReader Open(ParseResult parsed) => new(
        parsed.GetRequiredValue(_data).Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries), parsed.GetRequiredValue(_field));

    public int Threads(ParseResult parsed) => parsed.GetValue(_threads) is > 0 and int given ? given : Environment.ProcessorCount;
}
