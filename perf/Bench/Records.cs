// One JSON line per measurement; the unit is part of the key and the raw samples stay.
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;

namespace OrionNative.Bench;

static class Records
{
    /// <summary>Appends a measurement to perf/records/FILE when ORION_RECORD names that folder's parent, else does nothing.</summary>
    /// <param name="bytes">Predicted traffic: what the operation must read and write.</param>
    /// <param name="ceilingSeconds">That traffic at the copy bandwidth measured in the same run.</param>
    public static void AppendBandwidth(
        string file, string scenario, string shape, string device, long bytes, double[] seconds, double ceilingSeconds, double copyGigabytesPerSecond)
    {
        string? root = Environment.GetEnvironmentVariable("ORION_ROOT");
        if (root is null || Environment.GetEnvironmentVariable("ORION_RECORD") != "1")
        {
            return;
        }

        double[] sorted = [.. seconds.Order()];
        double median = Clock.Median(seconds);
        JsonObject line = new()
        {
            ["date"] = DateTimeOffset.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture),
            ["commit"] = Commit(root),
            ["device"] = device,
            ["scenario"] = scenario,
            ["shape"] = shape,
            ["command"] = $"./orion perf {string.Join(' ', Environment.GetCommandLineArgs()[1..])}",
            ["bytes"] = bytes,
            ["timeUsSamples"] = new JsonArray([.. seconds.Select(s => (JsonNode)Math.Round(s * 1e6, 2))]),
            ["timeUsMedian"] = Math.Round(median * 1e6, 2),
            ["timeUsP90"] = Math.Round(sorted[(int)(0.9 * (sorted.Length - 1))] * 1e6, 2),
            ["ceilingUs"] = Math.Round(ceilingSeconds * 1e6, 2),
            ["copyGBps"] = Math.Round(copyGigabytesPerSecond, 2),
            ["ratio"] = Math.Round(ceilingSeconds / median, 3),
        };
        string folder = Path.Combine(root, "perf", "records");
        Directory.CreateDirectory(folder);
        File.AppendAllText(Path.Combine(folder, file), line.ToJsonString() + "\n");
    }

    static string Commit(string root)
    {
        using Process? git = Process.Start(new ProcessStartInfo("git", ["-C", root, "rev-parse", "--short", "HEAD"]) { RedirectStandardOutput = true });
        return git?.StandardOutput.ReadToEnd().Trim() ?? "";
    }
}
