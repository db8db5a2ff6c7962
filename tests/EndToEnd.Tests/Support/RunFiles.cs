// What a run leaves in its directory, as tests compare it.
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json.Nodes;

namespace OrionNative.EndToEnd.Tests.Support;

sealed class RunFiles(string directory)
{
    public IEnumerable<JsonObject> Metrics => Lines("metrics.jsonl");

    public IEnumerable<JsonObject> Events => Lines("events.jsonl");

    public int[] Steps => [.. Metrics.Select(line => (int)line["step"]!)];

    /// <summary>Losses as round-trip text: equal text is equal bits.</summary>
    public string[] Losses => [.. Metrics.Select(line => ((double)line["loss"]!).ToString("R", CultureInfo.InvariantCulture))];

    /// <summary>SHA-256 of every weight and optimizer file of the newest checkpoint: fingerprints of all layers.</summary>
    public string[] WeightHashes =>
    [
        .. Directory.GetFiles(Path.Combine(directory, "checkpoints", File.ReadAllText(Path.Combine(directory, "latest")).Trim()), "*.safetensors")
            .Order(StringComparer.Ordinal).Select(file => $"{Path.GetFileName(file)} {Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file)))}"),
    ];

    IEnumerable<JsonObject> Lines(string name) => File.ReadLines(Path.Combine(directory, name)).Select(line => JsonNode.Parse(line)!.AsObject());
}
