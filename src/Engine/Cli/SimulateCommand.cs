// orion-engine simulate: the run's deciding cores under virtual time.
//   --benchmark routing     the 96-peer routing benchmark
//   --seed N [--trace]      one simulated run with the faults of that seed; exit code 1 if a property did not hold
//   --seeds A..B            many, each twice, with a report of the branches that none reached
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using OrionNative.Engine.Simulation;

namespace OrionNative.Engine.Cli;

static class SimulateCommand
{
    public static Command Create()
    {
        var benchmark = new Option<string?>("--benchmark") { Description = "routing: the 96-peer routing benchmark" };
        benchmark.AcceptOnlyFromAmong("routing");
        var count = new Option<int>("--count")
        {
            Description = "seeds of the benchmark",
            DefaultValueFactory = _ => RoutingContest.DefaultSeedCount,
        }.Between(1, 10_000);
        var seed = new Option<ulong?>("--seed") { Description = "simulate one run with the faults of this seed" };
        var trace = new Option<bool>("--trace") { Description = "print everything that happens" };
        var seeds = new Option<string?>("--seeds") { Description = "A..B: simulate these seeds, each twice" };
        var json = new Option<bool>("--json") { Description = "one JSON object on standard output" };
        var command = new ExampleCommand("simulate", "Run the deciding cores under virtual time and virtual faults.", "simulate --seed 18 --trace", "simulate --seeds 1..400", "simulate --benchmark routing") { benchmark, count, seed, trace, seeds, json };
        command.Validators.Add(result =>
        {
            // whether they are there, not their values: one that is no number is the parser's to say
            int modes = ((Option[])[benchmark, seed, seeds]).Count(option => result.GetResult(option) is not null);
            if (modes != 1)
                result.AddError("give one of --benchmark routing, --seed N, --seeds A..B");
            else if (result.GetValue(seeds) is string range && !TryParseRange(range, out _, out _))
                result.AddError($"--seeds {range}: expected two numbers and two dots, as in 1..1000");
        });
        command.SetAction(parsed =>
        {
            if (parsed.GetValue(benchmark) is not null)
                return Benchmark(parsed.GetValue(count), parsed.GetValue(json));
            if (parsed.GetValue(seed) is ulong one)
                return One(one, parsed.GetValue(trace), parsed.GetValue(json));
            return TryParseRange(parsed.GetValue(seeds)!, out ulong first, out ulong last) ? Many(first, last, parsed.GetValue(json)) : 2;
        });
        return command;
    }

    static bool TryParseRange(string text, out ulong first, out ulong last)
    {
        string[] ends = text.Split("..");
        last = 0;
        return ulong.TryParse(ends[0], CultureInfo.InvariantCulture, out first) && ends.Length == 2
            && ulong.TryParse(ends[1], CultureInfo.InvariantCulture, out last) && first <= last;
    }

    static int Benchmark(int count, bool json)
    {
        RoutingScore[] scores = RoutingContest.Run(count);
        Console.Out.WriteLine(json
            ? JsonSerializer.Serialize(new
            {
                scenario = "routing.iota96",
                policies = scores.Select(s => new { policy = s.Policy, totalSecondsSamples = s.TotalSeconds, totalSecondsMedian = s.MedianSeconds, drops = s.Drops }),
            })
            : RoutingContest.Table(scores));
        return 0;
    }

    static int One(ulong seed, bool trace, bool json)
    {
        TextWriter people = json ? Console.Error : Console.Out;
        people.WriteLine(SwarmSimulation.ReplayCommand(seed));
        SwarmOutcome outcome = SwarmSimulation.Run(seed, trace ? people.WriteLine : null);
        people.WriteLine(outcome.IsSuccess
            ? $"seed {seed}: all steps done in {outcome.VirtualSeconds:F1} virtual s, {outcome.Events} events, trace {outcome.TraceHash:x16}"
            : $"seed {seed}: FAILED at {outcome.VirtualSeconds:F3} virtual s: {outcome.Failure}");
        people.WriteLine(SwarmSimulation.ReplayCommand(seed));
        if (json)
            Console.Out.WriteLine(ToJson([outcome], []));
        return outcome.IsSuccess ? 0 : 1;
    }

    static int Many(ulong first, ulong last, bool json)
    {
        TextWriter people = json ? Console.Error : Console.Out;
        SwarmCampaign campaign = SwarmCampaign.Run(first, last, people.WriteLine);
        people.WriteLine($"{campaign.Seeds} seeds, {campaign.Failures.Count} failed, {campaign.Events} events, {campaign.VirtualSeconds:F0} virtual s");
        people.WriteLine($"branches that no seed reached: {(campaign.Unreached.Length == 0 ? "none" : string.Join(", ", campaign.Unreached))}");
        foreach (SwarmOutcome failure in campaign.Failures)
            people.WriteLine($"{SwarmSimulation.ReplayCommand(failure.Seed)}    # {failure.Failure}");
        if (json)
            Console.Out.WriteLine(ToJson(campaign.Failures, campaign.Unreached));
        return campaign.Failures.Count == 0 ? 0 : 1;
    }

    static string ToJson(IReadOnlyList<SwarmOutcome> outcomes, string[] unreached) => JsonSerializer.Serialize(new
    {
        scenario = "simulate",
        outcomes = outcomes.Select(o => new { seed = o.Seed, failure = o.Failure, trace = o.TraceHash.ToString("x16"), virtualSeconds = o.VirtualSeconds, events = o.Events }),
        unreached,
    });
}
