// Help that ends with examples: a command derived from ExampleCommand lists a few lines that work as they stand.
using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace OrionNative.Engine.Cli;

/// <summary>A command with examples for its help page.</summary>
class ExampleCommand(string name, string description, params string[] examples) : Command(name, description)
{
    public IReadOnlyList<string> Examples => examples;
}

sealed class ExamplesHelp(HelpAction inner) : SynchronousCommandLineAction
{
    public override int Invoke(ParseResult parseResult)
    {
        int status = inner.Invoke(parseResult);
        if (parseResult.CommandResult.Command is ExampleCommand { Examples.Count: > 0 } command)
        {
            TextWriter output = parseResult.InvocationConfiguration.Output;
            output.WriteLine("Examples:");
            foreach (string example in command.Examples)
            {
                output.WriteLine($"  orion-engine {example}");
            }

            output.WriteLine();
        }

        return status;
    }

    /// <summary>Replaces the help of a root command; it serves every command below.</summary>
    public static void Install(RootCommand root)
    {
        foreach (HelpOption option in root.Options.OfType<HelpOption>())
        {
            if (option.Action is HelpAction action)
            {
                action.MaxWidth = 110;
                option.Action = new ExamplesHelp(action);
            }
        }
    }
}
