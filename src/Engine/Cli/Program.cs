// The command line of orion-engine: one line a command. Errors end here as one clear sentence and a documented status; with
// --json also as one object on standard output, {"error", "exitCode"}, so that a program finds one whatever happened.
using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;

namespace OrionNative.Engine.Cli;

static partial class Program
{
    /// <summary>What a command that waits on its network has after Ctrl-C to say its result.</summary>
    static readonly TimeSpan _lastWords = TimeSpan.FromSeconds(10);

    static int Main(string[] arguments)
    {
        RootCommand root = Root();
        ParseResult parsed = root.Parse(arguments.Length == 0 ? ["--help"] : arguments);
        bool json = IsJsonAsked(parsed, arguments);
        return parsed.Errors.Count > 0 && parsed.Action is not System.CommandLine.Help.HelpAction and not ExamplesHelp
            ? UsageError(parsed, json)
            : Run(parsed, json);
    }

    // where the command itself is misspelt nobody has parsed the word
    static bool IsJsonAsked(ParseResult parsed, string[] arguments) =>
        parsed.CommandResult.Command.Options.OfType<Option<bool>>().FirstOrDefault(option => option.Name == CommandOutput.JsonName) is { } option
            ? parsed.GetResult(option) is { Errors: var errors } && !errors.Any() && parsed.GetValue(option)
            : arguments.Contains(CommandOutput.JsonName);

    /// <summary>Every command with its options.</summary>
    internal static RootCommand Root()
    {
        RootCommand root = new("Trains language models by pipeline parallelism over the public internet.");
        foreach (Command command in Commands())
        {
            root.Add(command);
        }

        ExamplesHelp.Install(root);
        return root;
    }

    static IEnumerable<Command> Commands() =>
    [
        QuickstartCommand.Create(),
        TrainCommand.Create(),
        EvalCommand.Create(),
        GenerateCommand.Create(),
        ExportCommand.Create(),
        InspectCommand.Create(),
        TokenizerCommand.Create(),
        DataCommand.Create(),
        OrchestrateCommand.Create(),
        JoinCommand.Create(),
        SteerCommands.Status(),
        SteerCommands.Events(),
        SteerCommands.Drain(),
        SteerCommands.Stop(),
        DoctorCommand.Create(),
        PlanCommand.Create(),
        SimulateCommand.Create(),
        Link.LinkCommand.Create(),
        KernelsCommand.Create(),
    ];

    static int Run(ParseResult parsed, bool json)
    {
        try
        {
            return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = _lastWords });
        }
        catch (ConfigurationException error)
        {
            return Fail(ExitStatus.Usage, error.Message, json);
        }
        catch (NonFiniteException error)
        {
            return Fail(ExitStatus.Failed, error.Message, json);
        }
        catch (OperationCanceledException)
        {
            return Tell("interrupted", ExitStatus.Interrupted, json);
        }
        catch (PlatformNotSupportedException error)
        {
            return Fail(ExitStatus.EnvironmentMissing, error.Message, json);
        }
        catch (Exception error) when (ExitStatus.IsOperational(error))
        {
            return Fail(ExitStatus.Failed, error.Message + ExitStatus.FixOf(error), json);
        }
    }

    static int Fail(int status, string message, bool json)
    {
        Console.Error.WriteLine($"orion-engine: {message}");
        return Tell(message, status, json);
    }

    static int Tell(string message, int status, bool json)
    {
        new CommandOutput(json).Result(CommandOutput.Failure(message, status));
        return status;
    }

    /// <summary>Unknown words with the nearest known one; the rest in the parser's words.</summary>
    static int UsageError(ParseResult parsed, bool json)
    {
        Command command = parsed.CommandResult.Command;
        string[] known =
        [
            .. command.Subcommands.Select(subcommand => subcommand.Name),
            .. command.Options.SelectMany(option => option.Aliases.Prepend(option.Name)),
        ];
        string[] mistakes =
            parsed.UnmatchedTokens.Count > 0 ? [UnknownWord(parsed.UnmatchedTokens[0], command, known)]
            : command.Subcommands.Count > 0 ? [$"`{CommandPath(parsed).TrimEnd()}` needs one of its commands: {string.Join(", ", command.Subcommands.Select(subcommand => subcommand.Name))}"]
            : [.. parsed.Errors.Select(InOneLine)];
        foreach (string mistake in mistakes)
        {
            Console.Error.WriteLine($"orion-engine: {mistake}");
        }

        Console.Error.WriteLine($"orion-engine: `orion-engine {CommandPath(parsed)}--help` lists what there is");
        return Tell(string.Join("; ", mistakes), ExitStatus.Usage, json);
    }

    static string UnknownWord(string word, Command command, string[] known)
    {
        string kind = word.StartsWith('-') ? "option" : command.Subcommands.Count > 0 ? "command" : "argument";
        return $"unknown {kind} '{word}'{NearestName.Hint(word, [.. known.Where(name => kind != "argument" && name.StartsWith('-') == (kind == "option"))])}";
    }

    // the parser lists allowed words one a line, and names types of the runtime
    static string InOneLine(ParseError error) =>
        NotANumber().Replace(string.Join(' ', error.Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)),
            match => $"{match.Groups[2]} '{match.Groups[1]}' is not a {(match.Groups[3].Value.Contains("Int", StringComparison.Ordinal) ? "whole number in its range" : "number")}");

    [GeneratedRegex(@"^Cannot parse argument '(.*)' for option '(.*)' as expected type '(.*(?:Int|Double).*)'\.$")]
    private static partial Regex NotANumber();

    static string CommandPath(ParseResult parsed)
    {
        string path = "";
        for (SymbolResult? at = parsed.CommandResult; at is CommandResult { Command: not RootCommand } result; at = at.Parent)
        {
            path = $"{result.Command.Name} {path}";
        }

        return path;
    }
}
