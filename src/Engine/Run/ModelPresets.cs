// Models by name. `tiny` trains in seconds on a CPU; `orion-100b` is the published 100B run's shape
// (99,615,863,808 parameters without the bottleneck weights).
namespace OrionNative.Engine.Run;

static class ModelPresets
{
    /// <summary>By name, the smallest first.</summary>
    public static readonly IReadOnlyDictionary<string, ModelConfig> All = new OrderedDictionary<string, ModelConfig>(StringComparer.Ordinal)
    {
        ["tiny"] = new() { Vocabulary = 256, Width = 128, Layers = 4, QueryHeads = 4, KeyValueHeads = 4, HeadWidth = 32, FeedForward = 352, Context = 512 },
        ["30m"] = new() { Vocabulary = 4096, Width = 512, Layers = 8, QueryHeads = 8, KeyValueHeads = 8, HeadWidth = 64, FeedForward = 1408, Context = 1024 },
        ["124m"] = new() { Vocabulary = 25_600, Width = 768, Layers = 12, QueryHeads = 12, KeyValueHeads = 12, HeadWidth = 64, FeedForward = 2048, Context = 1024 },
        ["1b"] = new() { Vocabulary = 32_000, Width = 2048, Layers = 22, QueryHeads = 32, KeyValueHeads = 4, HeadWidth = 64, FeedForward = 5632, Context = 2048 },
        ["8b"] = new() { Vocabulary = 128_256, Width = 4096, Layers = 32, QueryHeads = 32, KeyValueHeads = 8, HeadWidth = 128, FeedForward = 14_336, Context = 8192 },
        ["orion-100b"] = new() { Vocabulary = 128_256, Width = 9216, Layers = 90, QueryHeads = 72, KeyValueHeads = 8, HeadWidth = 128, FeedForward = 32_256, Context = 8192, CodeWidth = 144 },
    };

    /// <summary>The preset of a name.</summary>
    public static ModelConfig Get(string name) =>
        All.TryGetValue(name, out ModelConfig? config)
            ? config
            : throw new ConfigurationException($"model '{name}' is neither a preset ({string.Join(", ", All.Keys)}) nor a file{NearestName.Hint(name, [.. All.Keys])}");
}
