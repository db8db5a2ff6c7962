// What the wire and the cut cost, with real processes on this machine.
//   efficiency   tokens/s of 4 stages x 2 replicas behind emulated orion links (856/1322 Mbit/s, 30 to 60 ms) over the same
//                swarm on loopback            goal 0.97, at least 0.90
//   long-steps   the same with four times the microbatches a step, which separates what a step pays once from what a token pays
//   cut          tokens/s of 4 stages, one peer each, over one process with the same cores      at least 0.90
//                The relays of the emulation take their time from the cores that compute, so a third arm goes through relays without
//                limits: what is left between it and the links is latency and rate.
// Sketch: a step pays latency twice, draining the pipeline (3 hops of 22 ms; filling it hides behind stage 0's compute) and closing
// (four one-way delays, decision 0047): 0.15 s. With 4.4 s of compute a step that is 0.97. Measured: 0.22 s, and predicted from it 0.977
// for four times the microbatches. It was 0.938: the price goes with the tokens.
// Most of it is the relays: 0.963 through relays without limits, and 0.974 of that through links.
// Compute must dominate as it does where a microbatch has 8000 tokens and a stage 6 billion parameters: 1024 tokens, 96 of them.
using System.Text.Json.Nodes;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;
using OrionNative.Net.Links;

namespace OrionNative.Bench;

static class SwarmSuite
{
    const string File = "swarm.jsonl";
    const int WarmSteps = 2, UsualMicrobatches = 96, ManyMicrobatches = 384;

    /// <summary>Arguments: efficiency, long-steps, cut, or nothing for all.</summary>
    public static int Run(string[] arguments)
    {
        string[] parts = Suite.Parts(arguments, "efficiency", "long-steps", "cut");
        if (parts.Contains("efficiency"))
        {
            Efficiency(UsualMicrobatches);
        }

        if (parts.Contains("long-steps"))
        {
            Efficiency(ManyMicrobatches);
        }

        if (parts.Contains("cut"))
        {
            Cut();
        }

        return 0;
    }

    static RunConfig Config(string folder, int stages, int replicas, int microbatches, int steps) => new()
    {
        Data = [Path.Combine(Records.Root, "src", "Engine", "**", "*.cs")],
        Stages = stages,
        Replicas = replicas,
        Steps = steps,
        Sequence = 256,
        MicrobatchSize = 4,
        Microbatches = microbatches,
        Boundary = BoundaryKind.Anchored,
        CheckpointEvery = 0,
        Out = Path.Combine(folder, Guid.NewGuid().ToString("N")[..8]),
    };

    static void Efficiency(int microbatches)
    {
        List<double> near = [], relayed = [], far = [], nearBusy = [], relayedBusy = [], farBusy = [];
        string folder = Directory.CreateTempSubdirectory("orion-bench-").FullName;
        for (int round = 0; round < 2; round++)
        {
            Swarm(Config(folder, 4, 2, microbatches, 5), null, near, nearBusy);
            Swarm(Config(folder, 4, 2, microbatches, 5), LinkProfile.Named["perfect"].Profile, relayed, relayedBusy);
            Swarm(Config(folder, 4, 2, microbatches, 5), LinkProfile.Named["orion"].Profile, far, farBusy);
        }

        Directory.Delete(folder, recursive: true);
        Write("swarm.emulation", $"4 stages x 2 replicas, tiny, {microbatches} microbatches of 4 x 256 tokens, through relays without limits", "loopback", near, nearBusy, "relayed", relayed, relayedBusy);
        Write("swarm.efficiency", $"4 stages x 2 replicas, tiny, {microbatches} microbatches of 4 x 256 tokens, anchored, bf16", "loopback", near, nearBusy, "orion", far, farBusy);
    }

    static void Cut()
    {
        List<double> one = [], cut = [], cutBusy = [];
        string folder = Directory.CreateTempSubdirectory("orion-bench-").FullName;
        for (int round = 0; round < 3; round++)
        {
            One(Config(folder, 1, 1, 32, 6), one);
            Swarm(Config(folder, 4, 1, 32, 6), null, cut, cutBusy);
        }

        Directory.Delete(folder, recursive: true);
        Write("swarm.cut", "1 process against 4 stages x 1, tiny, 32 microbatches of 4 x 256 tokens", "oneProcess", one, [], "fourStages", cut, cutBusy);
    }

    static void Swarm(RunConfig config, LinkProfile? links, List<double> seconds, List<double> busy)
    {
        using LocalSwarm swarm = new(ResolvedRun.From(config), resumeFrom: null, TextWriter.Null, links: links);
        double compute = 0;
        using PlainTrainingView view = new(TextWriter.Null, TimeProvider.System);
        swarm.Train(view, step => Take(step.Step, step.Seconds), CancellationToken.None);

        // the first step waits for the peers to start, in the second they still compile; the last step's figures end the count
        void Take(int step, double lasted)
        {
            double now = swarm.Orchestrator.Figures.Values.Sum(figures => figures.BusySeconds);
            if (step > WarmSteps)
            {
                seconds.Add(lasted);
                busy.Add((now - compute) / lasted / Environment.ProcessorCount);
            }

            compute = now;
        }
    }

    static void One(RunConfig config, List<double> seconds)
    {
        using TrainingRun training = new(ResolvedRun.From(config), null, TimeProvider.System, TextWriter.Null);
        using StepTimes view = new(seconds);
        training.Train(view, CancellationToken.None);
    }

    sealed class StepTimes(List<double> seconds) : ITrainingView
    {
        long _at;

        public void Step(StepView step)
        {
            if (step.Step > WarmSteps)
            {
                seconds.Add(TimeProvider.System.GetElapsedTime(_at).TotalSeconds);
            }

            _at = TimeProvider.System.GetTimestamp();
        }

        public void Note(string text)
        {
        }

        public void Dispose()
        {
        }
    }

    static void Write(string scenario, string shape, string firstName, List<double> first, List<double> firstBusy, string secondName, List<double> second, List<double> secondBusy)
    {
        double ratio = Clock.Median([.. first]) / Clock.Median([.. second]);
        Console.WriteLine($"{scenario}: {firstName} {Clock.Median([.. first]):F2} s a step, {secondName} {Clock.Median([.. second]):F2} s, ratio {ratio:F3}; compute threads busy, over the cores: {Mean(firstBusy)} and {Mean(secondBusy)}");
        Records.Append(File, new JsonObject
        {
            ["device"] = $"{Environment.ProcessorCount} cores",
            ["scenario"] = scenario,
            ["shape"] = shape,
            [$"{firstName}StepMsSamples"] = Records.Milliseconds([.. first]),
            [$"{secondName}StepMsSamples"] = Records.Milliseconds([.. second]),
            ["ratio"] = Math.Round(ratio, 3),
        });
    }

    static string Mean(List<double> shares) => shares.Count == 0 ? "not measured" : shares.Average().ToString("F2", System.Globalization.CultureInfo.InvariantCulture);
}
