// Style that no compiler checks: files fit one read and open with their idea, nothing is left to do in silence, and the
// rooms only look down.
using System.Text.RegularExpressions;

namespace OrionNative.Engine.Tests.Tidy;

public partial class TidyTests
{
    const int LinesMax = 500;
    const int LinesWithoutHeaderMax = 40;

    /// <summary>Which rooms of the engine a room may use. A new arrow deserves a decision record.</summary>
    static readonly Dictionary<string, string[]> _arrows = new()
    {
        ["Run"] = [],
        ["Routing"] = ["Run"],
        ["Sync"] = ["Run"],
        ["Control"] = ["Run", "Routing"],
        ["Ledger"] = ["Run"],
        ["Storage"] = [],
        ["Data"] = ["Run", "Storage"],
        ["Checkpoint"] = ["Run", "Storage"],
        ["Model"] = ["Run"],
        ["Training"] = ["Run", "Model", "Data", "Checkpoint"],
        ["Pipeline"] = ["Run", "Model", "Training", "Routing", "Control"],
        ["Simulation"] = ["Run", "Routing", "Sync", "Control", "Ledger", "Pipeline"],
        ["Dashboard"] = ["Run"],
        ["Hosting"] = ["Run", "Storage", "Routing", "Sync", "Control", "Ledger", "Data", "Checkpoint", "Model", "Training", "Pipeline", "Dashboard"],
        ["Planning"] = ["Run", "Control", "Data", "Model", "Training", "Pipeline", "Simulation", "Hosting"],
        ["Cli"] = ["Run", "Storage", "Routing", "Sync", "Control", "Ledger", "Data", "Checkpoint", "Model", "Training", "Pipeline", "Simulation", "Dashboard", "Hosting", "Planning"],
    };

    static readonly string[] _sources = [.. Repository.Files("src", ".cs"), .. Repository.Files("perf", ".cs")];

    [Fact]
    public void Sources_AllOfThem_FitOneRead() => Empty(
        from file in _sources.Concat(Repository.Files("tests", ".cs"))
        let lines = File.ReadLines(file).Count()
        where lines > LinesMax
        select $"{Repository.Relative(file)} has {lines} lines; past {LinesMax} there is a second idea inside");

    [Fact]
    public void Sources_LongerThanANoun_OpenWithTheirIdea() => Empty(
        from file in _sources
        let lines = File.ReadAllLines(file)
        where lines.Length > LinesWithoutHeaderMax && !lines[0].StartsWith("//", StringComparison.Ordinal)
        select $"{Repository.Relative(file)} does not open with a comment that says its idea");

    [Fact]
    public void Sources_AllOfThem_LeaveNothingToDoInSilence() => Empty(
        from file in _sources.Concat(Repository.Files("tests", ".cs"))
        where !file.EndsWith("TidyTests.cs", StringComparison.Ordinal)
        from line in File.ReadAllLines(file)
        where LeftOver().IsMatch(line)
        select $"{Repository.Relative(file)}: {line.Trim()}");

    [Fact]
    public void Kernels_AndNet_KnowNothingOfEachOtherOrTheEngine() => Empty(
        from file in _sources
        let room = Repository.Relative(file).Split('/')[1]
        where room is "Kernels" or "Net"
        from line in File.ReadLines(file)
        where line.StartsWith("using OrionNative.Engine", StringComparison.Ordinal)
            || line.StartsWith(room == "Net" ? "using OrionNative.Kernels" : "using OrionNative.Net", StringComparison.Ordinal)
        select $"{Repository.Relative(file)}: {line}");

    [Fact]
    public void EngineRooms_AllOfThem_LookDownOnly() => Empty(
        from file in Repository.Files("src/Engine", ".cs")
        let room = Repository.Relative(file).Split('/')[2]
        from line in File.ReadLines(file)
        let used = EngineUsing().Match(line)
        where used.Success && used.Groups[1].Value != room
        where !_arrows.TryGetValue(room, out string[]? allowed) || !allowed.Contains(used.Groups[1].Value)
        select $"{Repository.Relative(file)}: {room} must not use {used.Groups[1].Value}");

    [Fact]
    public void Net_InTheEngine_IsUsedAtTheEdgeOnly() => Empty(
        from file in Repository.Files("src/Engine", ".cs")
        let room = Repository.Relative(file).Split('/')[2]
        where room is not ("Hosting" or "Planning" or "Cli")
        from line in File.ReadLines(file)
        where line.StartsWith("using OrionNative.Net", StringComparison.Ordinal)
        select $"{Repository.Relative(file)}: {line}");

    [Fact]
    public void Names_OfFolders_SayAnIdea() => Empty(
        from file in _sources
        from part in Repository.Relative(file).Split('/')[..^1]
        where part is "Utils" or "Util" or "Common" or "Helpers" or "Misc"
        select Repository.Relative(file));

    [Fact]
    public void Decisions_HaveANumberOfTheirOwnInNameAndTitle() => Empty(
    [
        .. from file in Repository.Files("docs/decisions", ".md")
           let number = Path.GetFileName(file)[..4]
           where !File.ReadLines(file).First().StartsWith($"# {number} ", StringComparison.Ordinal)
           select $"{Repository.Relative(file)}: its title does not begin with # {number}",
        .. from file in Repository.Files("docs/decisions", ".md")
           group Repository.Relative(file) by Path.GetFileName(file)[..4] into same
           where same.Count() > 1
           select $"one number, several decisions: {string.Join(", ", same)}",
    ]);

    /// <summary>Fails with every finding in full.</summary>
    internal static void Empty(IEnumerable<string> findings)
    {
        string all = string.Join('\n', findings);
        Assert.True(all.Length == 0, all);
    }

    [GeneratedRegex(@"\b(TODO|FIXME|HACK|XXX)\b")]
    private static partial Regex LeftOver();

    [GeneratedRegex(@"^(?:global )?using (?:static )?OrionNative\.Engine\.(\w+)")]
    private static partial Regex EngineUsing();
}
