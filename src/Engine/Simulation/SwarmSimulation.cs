// One seed, start to end: the run, or why it failed. Failures carry the command that replays them.
namespace OrionNative.Engine.Simulation;

sealed record SwarmOutcome(ulong Seed, string Failure, ulong TraceHash, double VirtualSeconds, long Events, SwarmProbes Probes)
{
    public bool IsSuccess => Failure.Length == 0;
}

static class SwarmSimulation
{
    public static string ReplayCommand(ulong seed) => $"orion-engine simulate --seed {seed} --trace";

    public static SwarmOutcome Run(ulong seed, Action<string>? trace = null) => Run(SwarmOptions.Draw(seed), trace, out _);

    public static SwarmOutcome Run(SwarmOptions options, Action<string>? trace, out SwarmWorld world)
    {
        world = new SwarmWorld(options, trace);
        string failure = "";
        try
        {
            world.Run();
        }
        catch (Exception error) when (error is InvariantException or InvalidOperationException or KeyNotFoundException or NullReferenceException)
        {
            failure = error is InvariantException ? error.Message : error.ToString();
        }
        return new SwarmOutcome(options.Seed, failure, world.TraceHash, world.Now.Seconds, world.EventCount, world.Probes);
    }

    /// <summary>Runs the seed twice; a different trace is a failure of its own.</summary>
    public static SwarmOutcome RunTwice(ulong seed)
    {
        SwarmOutcome first = Run(seed), second = Run(seed);
        return first.TraceHash == second.TraceHash ? first
            : first with { Failure = $"two runs differ: trace {first.TraceHash:x16} and {second.TraceHash:x16}" };
    }
}
