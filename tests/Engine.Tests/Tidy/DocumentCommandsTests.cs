// Commands in documents and in the examples of help pages are commands that the program takes: each line or code span that
// begins with ./orion or orion-engine is parsed by the real command line; none is run.
using System.CommandLine;
using System.Text.RegularExpressions;
using OrionNative.Engine.Cli;

namespace OrionNative.Engine.Tests.Tidy;

public partial class DocumentCommandsTests
{
    /// <summary>Words of the script itself, which the program does not know.</summary>
    static readonly string[] _script = ["test", "perf", "help", "X"];

    [Fact]
    public void Commands_InDocuments_AreParsed()
    {
        RootCommand root = Program.Root();
        string[] documents = [.. Directory.GetFiles(Repository.Root, "*.md"), .. Repository.Files("docs", ".md"), .. Repository.Files("perf", ".md")];
        (string File, string Line)[] all = [.. from document in documents from line in Commands(File.ReadAllText(document)) select (Repository.Relative(document), line)];
        Assert.InRange(all.Length, 30, int.MaxValue);
        TidyTests.Empty(from command in all from error in Errors(root, command.Line) select $"{command.File}: `{command.Line}`: {error}");
    }

    [Fact]
    public void Examples_OfHelpPages_AreParsed()
    {
        RootCommand root = Program.Root();
        string[] examples = [.. Descendants(root).OfType<ExampleCommand>().SelectMany(command => command.Examples)];
        Assert.InRange(examples.Length, 30, int.MaxValue);
        TidyTests.Empty(from example in examples from error in Errors(root, example) select $"{example}: {error}");
    }

    static IEnumerable<Command> Descendants(Command command) => command.Subcommands.SelectMany(Descendants).Prepend(command);

    // a mere name, and a name with --help, need not say what the command requires
    static IEnumerable<string> Errors(RootCommand root, string line) => root.Parse(line) is var parsed && (line.EndsWith("--help", StringComparison.Ordinal) || !line.Contains(" -", StringComparison.Ordinal))
        ? parsed.UnmatchedTokens.Select(word => $"nothing is called '{word}'")
        : parsed.Errors.Select(error => error.Message);

    // lines of code blocks, their comments left out, and code spans; a command that goes on elsewhere ("...") and a mere name are no commands
    static IEnumerable<string> Commands(string text) =>
        from match in Command().Matches(text)
        let line = match.Groups["line"].Value.Split(" #")[0].Trim()
        where line.Length > 0 && !line.Contains("...", StringComparison.Ordinal) && !line.Contains('…') && !_script.Contains(line.Split(' ')[0])
        select Placeholder().Replace(line, "1");

    /// <summary>N stands for a number; other words in capitals are texts already.</summary>
    [GeneratedRegex(@"(?<= )N(?= |$)")]
    private static partial Regex Placeholder();

    [GeneratedRegex(@"(?:^[ \t]*(?:\$ )?|`)(?:\./orion|orion-engine) (?<line>[^`\n]+)", RegexOptions.Multiline)]
    private static partial Regex Command();
}
