// perf/records, as the README quotes them: one JSON object a line, appended and never changed, so that of one scenario and
// shape the last line counts.
using System.Text.Json.Nodes;

namespace OrionNative.Engine.Tests.Tidy;

/// <summary>The lines of one file of perf/records, oldest first.</summary>
sealed class PerfRecords(string file)
{
    readonly JsonObject[] _lines =
        [.. File.ReadAllLines(Path.Combine(Repository.Root, "perf", "records", file + ".jsonl")).Select(line => JsonNode.Parse(line)!.AsObject())];

    /// <summary>The newest line of every scenario and shape whose scenario begins so and whose shape holds a word.</summary>
    public IReadOnlyList<JsonObject> Newest(string scenario, string shape = "") =>
        [.. Of(scenario, shape).GroupBy(line => (Text(line, "scenario"), Text(line, "shape"))).Select(same => same.Last())];

    /// <summary>The newest lines of one measurement that was repeated.</summary>
    public IReadOnlyList<JsonObject> Last(int count, string scenario, string shape = "") => [.. Of(scenario, shape).TakeLast(count)];

    /// <summary>All lines of a scenario and shape.</summary>
    /// <exception cref="InvalidDataException">There is none.</exception>
    public IReadOnlyList<JsonObject> Of(string scenario, string shape = "")
    {
        JsonObject[] found = [.. _lines.Where(line => Text(line, "scenario").StartsWith(scenario, StringComparison.Ordinal) && Text(line, "shape").Contains(shape, StringComparison.Ordinal))];
        return found.Length > 0 ? found : throw new InvalidDataException($"perf/records/{file}.jsonl has no record of {scenario}{(shape.Length > 0 ? $", shape {shape}" : "")}");
    }

    /// <summary>A figure of a line, or of several.</summary>
    public static double[] Figures(IEnumerable<JsonObject> lines, string key) => [.. lines.Select(line => (double)line[key]!)];

    static string Text(JsonObject line, string key) => (string?)line[key] ?? "";
}
