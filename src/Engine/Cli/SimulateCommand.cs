// orion-engine simulate: the run's deciding cores under virtual time.
using System.CommandLine;
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
        };
        var json = new Option<bool>("--json") { Description = "one JSON object on standard output" };
        var command = new Command("simulate", "run the deciding cores under virtual time and virtual faults") { benchmark, count, json };
        command.SetAction(parsed =>
        {
            RoutingScore[] scores = RoutingContest.Run(parsed.GetValue(count));
            Console.Out.WriteLine(parsed.GetValue(json) ? ToJson(scores) : RoutingContest.Table(scores));
            return 0;
        });
        return command;
    }

    static string ToJson(RoutingScore[] scores) => JsonSerializer.Serialize(new
    {
        scenario = "routing.iota96",
        policies = scores.Select(s => new { s.Policy, totalSecondsSamples = s.TotalSeconds, totalSecondsMedian = s.MedianSeconds, s.Drops }),
    });
}
