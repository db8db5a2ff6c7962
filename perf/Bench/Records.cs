// One JSON line per measurement; the unit is part of the key and the raw samples stay.
using System.Diagnostics;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace OrionNative.Bench;

static class Records
{
    static readonly JsonSerializerOptions _format = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Records an operation that is bound by memory.</summary>
    /// <param name="bytes">Predicted traffic: what the operation must read and write.</param>
    /// <param name="ceilingSeconds">That traffic at the copy bandwidth measured in the same run.</param>
    public static void AppendBandwidth(
        string file, string scenario, string shape, string device, long bytes, double[] seconds, double ceilingSeconds, double copyGigabytesPerSecond)
    {
        double[] sorted = [.. seconds.Order()];
        double median = Clock.Median(seconds);
        JsonObject line = new()
        {
            ["device"] = device,
            ["scenario"] = scenario,
            ["shape"] = shape,
            ["clock"] = Clock.Name,
            ["bytes"] = bytes,
            ["timeUsSamples"] = new JsonArray([.. seconds.Select(s => (JsonNode)Math.Round(s * 1e6, 2))]),
            ["timeUsMedian"] = Math.Round(median * 1e6, 2),
            ["timeUsP90"] = Math.Round(sorted[(int)(0.9 * (sorted.Length - 1))] * 1e6, 2),
            ["ceilingUs"] = Math.Round(ceilingSeconds * 1e6, 2),
            ["copyGBps"] = Math.Round(copyGigabytesPerSecond, 2),
            ["ratio"] = Math.Round(ceilingSeconds / median, 3),
        };
        Append(file, line);
    }

    /// <summary>Records an operation that is bound by arithmetic.</summary>
    /// <param name="peerSeconds">The peer's samples, taken alternately; null where it is absent or there is none.</param>
    /// <param name="peakGflops">Measured multiply-add peak on the same threads in the same run.</param>
    public static void AppendRate(
        string file, string scenario, string shape, string device, double gflop, double[] seconds, double[]? peerSeconds, double peakGflops)
    {
        double median = Clock.Median(seconds);
        JsonObject line = new()
        {
            ["device"] = device,
            ["scenario"] = scenario,
            ["shape"] = shape,
            ["clock"] = Clock.Name,
            ["gflop"] = Math.Round(gflop, 6),
            ["timeUsSamples"] = Microseconds(seconds),
            ["timeUsMedian"] = Math.Round(median * 1e6, 2),
            ["peakGflops"] = Math.Round(peakGflops, 1),
            ["ofPeak"] = Math.Round(gflop / median / peakGflops, 3),
        };
        if (peerSeconds != null)
        {
            line["peer"] = OpenBlas.Configuration;
            line["peerTimeUsSamples"] = Microseconds(peerSeconds);
            line["ratio"] = Math.Round(Clock.Median(peerSeconds) / median, 3);
        }

        Append(file, line);
    }

    public static JsonArray Milliseconds(double[] seconds) => [.. seconds.Select(s => (JsonNode)Math.Round(s * 1e3, 1))];

    static JsonArray Microseconds(double[] seconds) => new([.. seconds.Select(s => (JsonNode)Math.Round(s * 1e6, 2))]);

    /// <summary>The checkout: ORION_ROOT, which `./orion` sets, else the working directory.</summary>
    public static string Root => Environment.GetEnvironmentVariable("ORION_ROOT") ?? Environment.CurrentDirectory;

    /// <summary>Appends a measurement to perf/records/FILE, with date, commit and command in front, when ORION_RECORD is 1.</summary>
    public static void Append(string file, JsonObject measurement)
    {
        if (Environment.GetEnvironmentVariable("ORION_RECORD") != "1")
        {
            return;
        }

        JsonObject line = new()
        {
            ["date"] = DateTimeOffset.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture),
            ["commit"] = Commit(Root),
            ["command"] = $"./orion perf {string.Join(' ', Environment.GetCommandLineArgs()[1..])}",
        };
        foreach ((string key, JsonNode? value) in measurement)
        {
            line[key] = value?.DeepClone();
        }

        string folder = Path.Combine(Root, "perf", "records");
        Directory.CreateDirectory(folder);
        File.AppendAllText(Path.Combine(folder, file), Line(line) + "\n");
    }

    /// <summary>A record as it is written.</summary>
    public static string Line(JsonObject record) => record.ToJsonString(_format);

    public static string Commit(string root)
    {
        using Process? git = Process.Start(new ProcessStartInfo("git", ["-C", root, "rev-parse", "--short", "HEAD"]) { RedirectStandardOutput = true });
        return git?.StandardOutput.ReadToEnd().Trim() ?? "";
    }
}
