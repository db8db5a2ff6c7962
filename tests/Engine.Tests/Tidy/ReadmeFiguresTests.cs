// The README's table "Measured": every number in its cells "measured" and "beside" is computed here from the records that the
// row's last cell names, at the rounding shown. A figure without a record, a record that says something else, a row that
// nobody computes and a command that is not the record's are each a failure that says what the README should show.
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace OrionNative.Engine.Tests.Tidy;

public partial class ReadmeFiguresTests
{
    /// <param name="What">How the row's first cell begins.</param>
    /// <param name="File">File of perf/records, or of a test that shows the figure.</param>
    /// <param name="Figures">The numbers of the row in their order: measured ones from the records, sizes and goals as they are said.</param>
    sealed record Row(string What, string File, Func<PerfRecords, IEnumerable<string>> Figures);

    const string UsualSwarm = "4 stages x 2 replicas, tiny, 96 microbatches of 4 x 256";

    // tokens of a run of the boundary comparison
    const int ShortRun = 409_600, LongRun = 1_638_400;

    static readonly Row[] _rows =
    [
        new("matrix products, 2 threads", "kernels-cpu", records =>
        [
            .. Range(Gemm(records, "model").Select(line => (double)line["ratio"]!), "F2"), $"{Gemm(records, "model").Count()}",
            .. Range(Gemm(records, "square").Select(line => (double)line["ratio"]!), "F2"), "512", "2048", Version(Gemm(records, "square")),
        ]),
        new("large products", "kernels-cpu", records =>
        [
            .. Range(Gemm(records, "model").Concat(Gemm(records, "square")).Select(line => (double)line["ofPeak"]!), "F2"),
            Show(Median(PerfRecords.Figures(records.Newest("kernels.gemm"), "peakGflops")), "F0"),
        ]),
        new("attention, head width 64, T 1024", "kernels-cpu", records =>
        [
            One(records.Newest("kernels.attention_forward", "T=1024 H=8 G=8 D=64"), "ofPeak", "F2"),
            One(records.Newest("kernels.attention_backward", "T=1024 H=8 G=8 D=64"), "ofPeak", "F2"),
        ]),
        new("memory-bound ops on arrays beyond the caches", "kernels-cpu", records =>
        [
            Show(records.Newest("kernels.", "large").Where(line => (string?)line["scenario"] != "kernels.code_pack_int8").Min(line => (double)line["ratio"]!), "F2"),
            One(records.Newest("kernels.code_pack_int8", "large"), "ratio", "F2"), "2",
        ]),
        new("training step of `30m`, 4 x 512 tokens", "train-step", records =>
            [One(records.Newest("train-step.30m", "B=4 T=512"), "ratio", "F2"), Version(records.Newest("train-step.30m"))]),
        new("start of `tiny` to its first step; memory against its plan", "engine", records =>
            [One(records.Newest("start.tiny"), "timeMsMedian", "F2", 1e-3), .. Range(PerfRecords.Figures(records.Newest("memory."), "ratio"), "F2")]),
        new("12 MB of text into a tokenizer of 4096", "engine", records => [One(records.Newest("tokenizer.train", "4096 ids"), "timeMsMedian", "F2", 1e-3)]),
        new("QUIC at 856 Mbit/s, 60 ms; 0, 0.1, 1 % loss", "net", records =>
        [
            One(records.Newest("net.wan.goodput", "60 ms, 0 % loss"), "megabytesPerSecondMedian", "F0"),
            .. Range(PerfRecords.Figures(records.Last(2, "net.wan.goodput", "60 ms, 0.1 % loss"), "megabytesPerSecondMedian"), "F0"),
            One(records.Newest("net.wan.goodput", "60 ms, 1 % loss"), "megabytesPerSecondMedian", "F0"),
        ]),
        new("8 MiB messages over loopback, with digests and slots", "net", records =>
        [
            .. Range(PerfRecords.Figures(records.Last(3, "net.loopback.oneway"), "quicLinkMegabytesPerSecondMedian"), "F0"),
            .. Range(PerfRecords.Figures(records.Last(3, "net.loopback.oneway"), "sslStreamMegabytesPerSecondMedian"), "F0"),
        ]),
        new("2.2 MiB there and back, with digests and slots", "net", records =>
        [
            .. PerfRecords.Figures(records.Last(3, "net.loopback.roundtrip"), "quicLinkRatioToSslStream").Order().Select(ratio => Show(ratio, "F2")),
            .. Range(PerfRecords.Figures(records.Last(3, "net.loopback.roundtrip"), "quicLinkMsMedian"), "F1"),
            .. Range(PerfRecords.Figures(records.Last(3, "net.loopback.roundtrip"), "sslStreamMsMedian"), "F1"),
        ]),
        new("two flows on one link, the second joins late", "net", records =>
            [One(records.Newest("net.wan.fairness", "3 runs"), "worseShareMedian", "F0", 100), One(records.Newest("net.wan.fairness", "3 runs"), "worseShareLeast", "F0", 100), "50"]),
        new("a small request during bulk, 100 Mbit/s, 60 ms", "net", records => ["99", One(records.Newest("net.wan.controlDuringBulk"), "roundTripsP99", "F2")]),
        new("connect to first byte, 60 ms", "net", records => [One(records.Newest("net.wan.firstByte"), "roundTrips", "F1")]),
        new("4 stages x 2 replicas behind emulated 856/1322 Mbit/s, 30 to 60 ms", "swarm", records =>
        [
            One(records.Newest("swarm.efficiency", UsualSwarm), "ratio", "F2"),
            Show((double)records.Newest("swarm.efficiency", UsualSwarm)[0]["ratio"]! / (double)records.Newest("swarm.emulation", UsualSwarm)[0]["ratio"]!, "F2"),
        ]),
        new("4 stages in processes of their own, same cores", "swarm", records => [One(records.Newest("swarm.cut"), "ratio", "F2")]),
        new("a peer at a fifth of the others' speed", "swarm", records =>
            [One(records.Newest("swarm.slowPeer"), "shareOfAFastPeersWork", "F2"), One(records.Newest("swarm.slowPeer"), "ratioToAllowed", "F2")]),
        new("managed memory for a microbatch, any peer", "AllocationTests", _ => ["0"]),
        new("loss with 64x narrower `anchored` boundaries", "boundaries", records =>
        [
            Show(-Gap(records, "Muon", 256, ShortRun), "F1"), Show(-Gap(records, "Muon", 4096, ShortRun), "F1"),
            Show(Gap(records, "AdamW", 256, ShortRun), "F1"), Show(Gap(records, "AdamW", 4096, ShortRun), "F1"),
        ]),
        new("the same on bytes after 1.6 M tokens", "boundaries", records =>
            [Show(Math.Abs(Gap(records, "Muon", 256, LongRun)), "F1"), Show(Gap(records, "AdamW", 256, LongRun), "F1")]),
        new("routing on 96 simulated peers", "routing", records =>
        [
            .. from peer in (string[])["uniformSecondsMedian", "freeCacheSecondsMedian"]
               let newest = records.Newest("routing.iota96")[^1]
               select Show((double)newest["pathfinderSecondsMedian"]! / (double)newest[peer]!, "F2"),
        ]),
    ];

    [Fact]
    public void Figures_OfEveryRow_AreThoseOfTheRecords()
    {
        List<string> wrong = [];
        foreach ((string what, string measured, string beside, string source) in Table())
        {
            Row? row = _rows.FirstOrDefault(row => what.StartsWith(row.What, StringComparison.Ordinal));
            if (row is null)
            {
                wrong.Add($"'{what}': no row of {nameof(ReadmeFiguresTests)} computes it from a record");
                continue;
            }

            IEnumerable<string> shown = Number().Matches($"{measured} {beside}").Select(match => match.Value);
            string expected = string.Join(", ", row.Figures(Open(row.File))), found = string.Join(", ", shown);
            if (found != expected)
            {
                wrong.Add($"'{what}': the README shows {found}; by {row.File} it is {expected}");
            }

            if (!source.StartsWith(row.File, StringComparison.Ordinal) && !source.StartsWith($"`{row.File}`", StringComparison.Ordinal))
            {
                wrong.Add($"'{what}': the last cell is '{source}' and should begin with {row.File}");
            }
        }

        TidyTests.Empty(wrong);
        TidyTests.Empty(from row in _rows where !Table().Any(shown => shown.What.StartsWith(row.What, StringComparison.Ordinal)) select $"'{row.What}' is no row of the README any more; take it out here");
    }

    /// <summary>The command beside a figure, without its names of files, is the one in the records.</summary>
    [Fact]
    public void Commands_OfEveryRow_AreThoseOfTheRecords() => TidyTests.Empty(
        from row in Table()
        let command = Command().Match(row.Source)
        where command.Success
        let words = command.Groups[1].Value.Split(' ').Where(word => !word.All(char.IsAsciiLetterUpper))
        where !Lines(row.Source.Split(',')[0]).Any(line => words.All(((string)line["command"]!).Split(' ').Contains))
        select $"'{row.What}': no record of {row.Source.Split(',')[0]} was made by {command.Value}");

    [Fact]
    public void Records_AllOfThem_SayWhenWhereAndHow() => TidyTests.Empty(
        from file in Directory.GetFiles(Path.Combine(Repository.Root, "perf", "records"), "*.jsonl")
        from line in Lines(Path.GetFileNameWithoutExtension(file))
        from key in (string[])["date", "commit", "command", "device", "scenario"]
        where string.IsNullOrEmpty((string?)line[key])
        select $"{Repository.Relative(file)}: a line of {(string?)line["date"]} has no {key}");

    static IEnumerable<(string What, string Measured, string Beside, string Source)> Table() =>
        from line in File.ReadLines(Path.Combine(Repository.Root, "README.md")).SkipWhile(line => line != "## Measured").Skip(1).TakeWhile(line => !line.StartsWith("## ", StringComparison.Ordinal))
        where line.StartsWith("| ", StringComparison.Ordinal) && !line.StartsWith("| what |", StringComparison.Ordinal)
        let cells = line.Trim('|').Split('|', StringSplitOptions.TrimEntries)
        select (cells[0], cells[1], cells[2], cells[3]);

    /// <summary>The records of a file; a test's name stands for a file without any, and must exist.</summary>
    static PerfRecords Open(string file)
    {
        if (!file.EndsWith("Tests", StringComparison.Ordinal))
        {
            return new PerfRecords(file);
        }

        Assert.Contains(Repository.Files("tests", ".cs"), path => Path.GetFileNameWithoutExtension(path) == file);
        return new PerfRecords("engine");
    }

    static IEnumerable<JsonObject> Lines(string file) => new PerfRecords(file).Of("");

    static IEnumerable<JsonObject> Gemm(PerfRecords records, string which) =>
        from line in records.Newest("kernels.gemm")
        let scenario = (string)line["scenario"]!
        where !scenario.Contains("decode", StringComparison.Ordinal) && scenario.Contains("square", StringComparison.Ordinal) == (which == "square")
        select line;

    /// <summary>Percent of validation loss above full width, mean over the seeds that have both.</summary>
    static double Gap(PerfRecords records, string optimizer, int vocabulary, int tokens)
    {
        Dictionary<int, double> Loss(string arm) => records.Of("boundary-quality")
            .Where(line => (string?)line["arm"] == arm && (string?)line["optimizer"] == optimizer && (int)line["vocabulary"]! == vocabulary && (int)line["tokens"]! == tokens)
            .GroupBy(line => (int)line["seed"]!).ToDictionary(seed => seed.Key, seed => (double)seed.Last()["validationNatsPerToken"]!);

        Dictionary<int, double> control = Loss("none");
        return 100 * Loss("anchored").Where(seed => control.ContainsKey(seed.Key)).Average(seed => (seed.Value / control[seed.Key]) - 1);
    }

    static string One(IReadOnlyList<JsonObject> lines, string key, string format, double unit = 1) => lines.Count == 1
        ? Show(PerfRecords.Figures(lines, key)[0] * unit, format)
        : throw new InvalidDataException($"{lines[0]["scenario"]} has {lines.Count} shapes, and the README's figure is of one; name it: {string.Join("; ", lines.Select(line => (string?)line["shape"]))}");

    static IEnumerable<string> Range(IEnumerable<double> values, string format) => ((string[])[Show(values.Min(), format), Show(values.Max(), format)]).Distinct();

    static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

    static string Version(IEnumerable<JsonObject> lines) => Number().Match((string)lines.First()["peer"]!).Value;

    static string Show(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"(?<![A-Za-z])\d+(?:\.\d+)*")]
    private static partial Regex Number();

    [GeneratedRegex(@"`\./orion ([^`]+)`")]
    private static partial Regex Command();
}
