// What NVIDIA publishes of its cards: dense bf16 rate with fp32 sums (datasheets print the figure with sparsity, twice as much, from
// Hopper on), memory and its bandwidth. The rate is the denominator of model FLOP utilization; a plan for a card starts from all three.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting;

/// <summary>A card's published figures.</summary>
/// <param name="Name">What the card's own name contains.</param>
/// <param name="Flops">FLOP/s, dense bf16 with fp32 sums.</param>
/// <param name="MemoryBytes">As sold, in 10^9 bytes.</param>
/// <param name="BytesPerSecond">Of its memory.</param>
readonly record struct Card(string Name, double Flops, double MemoryBytes, double BytesPerSecond)
{
    /// <summary>The card as a word on the command line: rtx4090, h100-pcie.</summary>
    public string Word => Name.Replace("RTX ", "rtx", StringComparison.Ordinal).Replace(' ', '-').ToLowerInvariant();
}

static class Cards
{
    public static readonly Card[] All =
    [
        new("A100", 312e12, 80e9, 2.04e12), new("H100 PCIe", 756e12, 80e9, 2.0e12), new("H100 NVL", 835.5e12, 94e9, 3.9e12),
        new("H100", 989.4e12, 80e9, 3.35e12), new("H200 NVL", 835.5e12, 141e9, 4.8e12), new("H200", 989.4e12, 141e9, 4.8e12),
        new("GH200", 989.4e12, 96e9, 4.0e12), new("RTX 4090", 165.2e12, 24e9, 1.01e12), new("RTX 5090", 209.5e12, 32e9, 1.79e12),
    ];

    /// <summary>FLOP/s of the card whose own name this is: the longest known name that it contains; NaN if none.</summary>
    public static double PeakFlops(string deviceName) =>
        All.Where(card => deviceName.Contains(card.Name, StringComparison.OrdinalIgnoreCase))
            .OrderByDescending(card => card.Name.Length).Select(card => card.Flops).FirstOrDefault(double.NaN);

    /// <exception cref="ConfigurationException">No such card.</exception>
    public static Card Get(string word) => Array.Exists(All, card => card.Word == word)
        ? Array.Find(All, card => card.Word == word)
        : throw new ConfigurationException($"peer device '{word}' is not known; it can be cpu, {string.Join(", ", All.Select(card => card.Word))}{NearestName.Hint(word, ["cpu", .. All.Select(card => card.Word)])}");
}
