// A program that runs a command with --json finds one JSON object on standard output, whatever happened: the result, or
// {"error", "exitCode"}. Every command of the program must fail here once; a new one that does not turns the first test red.
using System.CommandLine;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Cli;

namespace OrionNative.EndToEnd.Tests;

public sealed class JsonFailureTests : IDisposable
{
    // by command: arguments with which it fails, and how
    static readonly Dictionary<string, (string Arguments, int ExitCode)> _failures = new()
    {
        ["quickstart"] = ("--links moon", 2),
        ["train"] = ("--data absent.txt", 2),
        ["eval"] = ("--checkpoint absent --data text.txt", 2),
        ["generate"] = ("--checkpoint broken --prompt a", 1),
        ["export"] = ("--checkpoint absent --out hf", 2),
        ["inspect"] = ("absent", 2),
        ["tokenizer train"] = ("--data absent.txt", 2),
        ["data prepare"] = ("--data absent.txt --out prepared", 2),
        ["orchestrate"] = ("--data text.txt --stages 2 --eval-every 3", 2),
        ["join"] = ("nonsense", 2),
        ["status"] = ("--run absent", 2),
        ["events"] = ("--run absent", 2),
        ["drain"] = ("3kqw --url http://127.0.0.1:9", 1),
        ["stop"] = ("--url nonsense", 2),
        ["doctor"] = ("--nonsense", 2),
        ["plan"] = ("--link moon", 2),
        ["simulate"] = ("--seeds 9..1", 2),
        ["link serve"] = ("--listen nonsense", 2),
        ["link test"] = ("127.0.0.1:9 --node nonsense", 2),
        ["link emulate"] = ("--target nonsense --listen 127.0.0.1:0", 2),
        ["kernels list"] = ("--nonsense", 2),
        ["kernels check"] = ("--device cuda:99", 3),
        ["kernels bench"] = ("--device moon", 2),
    };

    readonly TemporaryFolder _folder = new();

    [Fact]
    public void Commands_AllOfThem_HaveAFailureHere() =>
        Assert.Equal(Names(Program.Root(), "").Order(), _failures.Keys.Order());

    static IEnumerable<string> Names(Command command, string path) => command.Subcommands.SelectMany(below =>
        below.Subcommands.Count > 0 ? Names(below, $"{below.Name} ") : [path + below.Name]);

    [Fact]
    public void Failure_OfEveryCommand_IsOneObjectWithErrorAndExitCode()
    {
        _folder.File("text.txt", string.Concat(Enumerable.Repeat("to be or not to be, that is the question.\n", 50)));
        Directory.CreateDirectory(Path.Combine(_folder.Path, "broken"));
        _folder.File("broken/manifest.json", "{");
        Parallel.ForEach(_failures, new ParallelOptions { MaxDegreeOfParallelism = 2 }, failure =>
        {
            EngineResult result = EngineProcess.Run(_folder.Path, [.. failure.Key.Split(' '), .. failure.Value.Arguments.Split(' '), "--json"]);
            Assert.True(result.Status == failure.Value.ExitCode, $"{failure.Key}: {result.Status}\n{result.Error}");
            Assert.True(result.Output.StartsWith('{'), $"{failure.Key} says '{result.Output}'\n{result.Error}");
            Assert.Equal(result.Status, (int)result.Json["exitCode"]!);
            Assert.Contains((string)result.Json["error"]!, result.Error.ReplaceLineEndings("; "), StringComparison.Ordinal);
        });
    }

    [Theory]
    [InlineData("trian", "unknown command 'trian'; did you mean 'train'?")]
    [InlineData("train --step 3", "unknown option '--step'; did you mean '--steps'?")]
    public void UsageError_WithJson_IsAnObjectToo(string line, string expected)
    {
        EngineResult result = EngineProcess.Run(_folder.Path, [.. line.Split(' '), "--json"]);
        Assert.Equal(expected, (string?)result.Json["error"]);
        Assert.Equal(2, (int)result.Json["exitCode"]!);
        Assert.Equal("", EngineProcess.Run(_folder.Path, line.Split(' ')).Output);
    }

    public void Dispose() => _folder.Dispose();
}
