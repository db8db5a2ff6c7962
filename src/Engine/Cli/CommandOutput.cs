// Where a command writes. With --json standard output carries exactly one JSON object and people's text goes to standard
// error; without it people's text goes to standard output.
using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrionNative.Engine.Cli;

/// <summary>The two outputs of one command run.</summary>
sealed class CommandOutput(bool json)
{
    static readonly JsonSerializerOptions _format = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Lines for people.</summary>
    public TextWriter Text { get; } = json ? Console.Error : Console.Out;

    /// <summary>True when a person watches: the text goes to a terminal that can move its cursor.</summary>
    public bool IsTerminal { get; } = (json ? !Console.IsErrorRedirected : !Console.IsOutputRedirected) && Environment.GetEnvironmentVariable("TERM") is not ("dumb" or "" or null);

    /// <summary>Prints the result when --json asks for it.</summary>
    public void Result(JsonObject result)
    {
        if (json)
        {
            Console.Out.WriteLine(result.ToJsonString(_format));
        }
    }

    /// <summary>What a command that failed says in place of its result.</summary>
    public static JsonObject Failure(string error, int exitCode) => new() { ["error"] = error, ["exitCode"] = exitCode };

    public const string JsonName = "--json";

    /// <summary>The option --json, one instance a command.</summary>
    public static Option<bool> JsonOption() => new(JsonName) { Description = "print one JSON object on standard output, everything else on standard error" };
}
