// A measurement of the network, with the machine and its load: printed, and recorded where that is asked for.
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace OrionNative.Bench.Net;

static class NetRecord
{
    /// <summary>Prints a measurement, and appends it to perf/records/net.jsonl when ORION_RECORD=1.</summary>
    public static void Write(string scenario, string shape, JsonObject values)
    {
        JsonObject record = new()
        {
            ["device"] = $"{Cpu()}, {Environment.ProcessorCount} cores, {RuntimeInformation.OSDescription}, .NET {Environment.Version}",
            ["loadAverage"] = double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture),
            ["scenario"] = scenario,
            ["shape"] = shape,
        };
        foreach ((string key, JsonNode? value) in values)
        {
            record[key] = value?.DeepClone();
        }

        Console.WriteLine(Records.Line(record));
        Records.Append("net.jsonl", record);
    }

    public static JsonArray Samples(IEnumerable<double> values) => new([.. values.Select(v => JsonValue.Create(Math.Round(v, 3)))]);

    static string Cpu() => File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "unknown";
}
