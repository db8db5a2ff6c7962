// The three policies through the same worlds, and the table that `orion-engine simulate --benchmark routing` prints.
// Score: total virtual seconds of 5 epochs, median of the seeds; lower is better.
using System.Globalization;
using System.Text;
using OrionNative.Engine.Routing;

namespace OrionNative.Engine.Simulation;

sealed record RoutingScore(string Policy, double[] TotalSeconds, int[] Drops)
{
    public double MedianSeconds => Median(TotalSeconds);

    static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length % 2 == 1
            ? sorted[sorted.Length / 2]
            : (sorted[sorted.Length / 2 - 1] + sorted[sorted.Length / 2]) / 2;
    }
}

static class RoutingContest
{
    public const int DefaultSeedCount = 5;
    const long PayloadBytes = 2_304_000;

    public static RoutingScore[] Run(int seedCount) =>
    [
        Score("pathfinder", seedCount, seed => new PathfinderPolicy(new PathfinderSettings(), seed, PayloadBytes)),
        Score("free-cache", seedCount, seed => new FreeCachePolicy(seed)),
        Score("uniform", seedCount, seed => new UniformPolicy(seed)),
    ];

    public static string Table(RoutingScore[] scores)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"{"policy",-12}{"median s",10}{"ratio",8}{"drops",8}  seconds of each seed");
        foreach (RoutingScore score in scores)
        {
            text.AppendLine(CultureInfo.InvariantCulture,
                $"{score.Policy,-12}{score.MedianSeconds,10:F1}{score.MedianSeconds / scores[^1].MedianSeconds,8:F3}{score.Drops.Sum(),8}  {string.Join(' ', score.TotalSeconds.Select(s => s.ToString("F1")))}");
        }
        return text.ToString();
    }

    static RoutingScore Score(string name, int seedCount, Func<ulong, IHopPolicy> policy)
    {
        var outcomes = new RoutingOutcome[seedCount];
        for (int seed = 0; seed < seedCount; seed++)
            outcomes[seed] = RoutingBenchmark.Run((ulong)seed + 1, policy);
        return new RoutingScore(name, [.. outcomes.Select(o => o.TotalSeconds)], [.. outcomes.Select(o => o.Drops)]);
    }
}
