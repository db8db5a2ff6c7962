// One line a measurement in perf/records/: what, on what, by which command, all samples, their median. Units are in the keys.
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrionNative.Bench.Net;

static class NetRecord
{
    /// <summary>Prints a measurement, and appends it to perf/records/net.jsonl when ORION_RECORD=1.</summary>
    public static void Write(string scenario, string shape, JsonObject values)
    {
        string? root = Environment.GetEnvironmentVariable("ORION_ROOT");
        var record = new JsonObject
        {
            ["date"] = DateTimeOffset.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ"),
            ["commit"] = root is null ? "" : Records.Commit(root),
            ["device"] = $"{Cpu()}, {Environment.ProcessorCount} cores, {RuntimeInformation.OSDescription}, .NET {Environment.Version}",
            ["loadAverage"] = double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture),
            ["scenario"] = scenario,
            ["shape"] = shape,
            ["command"] = $"./orion perf {string.Join(' ', Environment.GetCommandLineArgs()[1..])}",
        };
        foreach ((string key, JsonNode? value) in values) record[key] = value?.DeepClone();
        string line = record.ToJsonString(new JsonSerializerOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        Console.WriteLine(line);
        if (root is null || Environment.GetEnvironmentVariable("ORION_RECORD") != "1") return;
        string folder = Path.Combine(root, "perf", "records");
        Directory.CreateDirectory(folder);
        File.AppendAllText(Path.Combine(folder, "net.jsonl"), line + "\n");
    }

    public static JsonArray Samples(IEnumerable<double> values) => new([.. values.Select(v => JsonValue.Create(Math.Round(v, 3)))]);

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }

    static string Cpu() => File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "unknown";
}
