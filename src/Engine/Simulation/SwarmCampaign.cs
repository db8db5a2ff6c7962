// Many seeds, each twice, on all processors; the failures, and the branches that none of them reached.
namespace OrionNative.Engine.Simulation;

sealed record SwarmCampaign(long Seeds, List<SwarmOutcome> Failures, long Events, double VirtualSeconds, SwarmProbes Probes)
{
    const int SeedsPerReport = 500;

    public string[] Unreached => [.. Probes.Unreached.Select(p => p.ToString())];

    public static SwarmCampaign Run(ulong first, ulong last, Action<string> report)
    {
        var failures = new List<SwarmOutcome>();
        var probes = new SwarmProbes();
        long done = 0, events = 0;
        double seconds = 0;
        var gate = new Lock();
        Parallel.For((long)first, (long)last + 1, seed =>
        {
            SwarmOutcome outcome = SwarmSimulation.RunTwice((ulong)seed);
            lock (gate)
            {
                probes.Add(outcome.Probes);
                events += outcome.Events;
                seconds += outcome.VirtualSeconds;
                if (!outcome.IsSuccess)
                    failures.Add(outcome);
                if (++done % SeedsPerReport == 0)
                    report($"{done} of {last - first + 1} seeds, {failures.Count} failed");
            }
        });
        failures.Sort((a, b) => a.Seed.CompareTo(b.Seed));
        return new SwarmCampaign(done, failures, events, seconds, probes);
    }
}
