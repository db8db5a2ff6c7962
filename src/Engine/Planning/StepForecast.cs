// How long a step takes: the orchestrator's and the peers' own state machines under virtual time, with the plan's numbers for compute,
// codes, shares and links (docs/decisions/0093). Beside it a bound that needs no machine, to say where the time goes:
//   bound = max over stages of (M/R * t_s)  +  rest of the pipeline's fill and drain  +  closing (4 one-way delays, shares, sum, apply)
// The first step, in which peers load, is not counted.
using System.Globalization;
using OrionNative.Engine.Simulation;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Planning;

/// <summary>A step's time and what it is made of, in seconds.</summary>
/// <param name="Step">From commit to commit.</param>
/// <param name="Compute">Of the busiest stage: its microbatches one after the other.</param>
/// <param name="Closing">From the last backward to the commit and the optimizer step after it.</param>
/// <param name="IsSimulated">False: the bound, because virtual time was not worth it or the machines did not come to an end.</param>
/// <param name="Trouble">What went wrong under virtual time; empty if nothing.</param>
readonly record struct StepForecast(double Step, double Compute, double Closing, bool IsSimulated, string Trouble)
{
    /// <summary>Filling and draining the pipeline, and waiting in between.</summary>
    public double Waiting => Math.Max(0, Step - Compute - Closing);
}

static class StepForecaster
{
    const int Steps = 4;
    const double EventsMost = 4e6;   // some seconds
    const double TicksPerPeerSecond = 16;

    /// <param name="run">The run that is planned.</param>
    /// <param name="stages">Compute by stage.</param>
    /// <param name="shareBytes">A gradient share, by stage.</param>
    /// <param name="link">Every peer's access link.</param>
    /// <param name="atOnce">Peers that can compute at the same time; 0: all.</param>
    public static StepForecast Of(PlannedRun run, StageSeconds[] stages, long[] shareBytes, LinkProfile link, int atOnce)
    {
        double compute = BusiestSeconds(run, stages, atOnce);
        if (run.IsOneProcess)
        {
            double apply = stages[0].Apply;
            return new StepForecast((run.Config.Microbatches * stages[0].Microbatch) + apply, compute, apply, false, "");
        }

        StepForecast bound = Bound(run, stages, shareBytes, link, compute);
        int peers = run.Config.Stages * run.Config.Replicas;
        double events = Steps * ((bound.Step * peers * TicksPerPeerSecond) + (20.0 * run.Config.Microbatches * run.Config.Stages));
        return events > EventsMost ? bound : Simulate(run, stages, shareBytes, link, atOnce, bound);
    }

    /// <summary>The time of the busiest stage's microbatches, or of all of them on shared processors if that is more.</summary>
    static double BusiestSeconds(PlannedRun run, StageSeconds[] stages, int atOnce)
    {
        double alone = run.MicrobatchesOfAReplica * stages.Max(stage => stage.Microbatch);
        return atOnce == 0 ? alone : Math.Max(alone, run.Config.Microbatches * stages.Sum(stage => stage.Microbatch) / atOnce);
    }

    static StepForecast Bound(PlannedRun run, StageSeconds[] stages, long[] shareBytes, LinkProfile link, double compute)
    {
        double delay = LinkNeeds.OneWaySeconds(link), rate = LinkNeeds.BytesPerSecond(link), hops = stages.Length - 1;
        double fill = stages.Sum(stage => stage.Microbatch) - stages.Max(stage => stage.Microbatch)
            + (hops * ((2 * delay) + ((run.ForwardBytes + run.BackBytes) / rate)));
        double wire = run.MicrobatchesOfAReplica * LinkNeeds.BusyBytes(run) / rate;
        double shares = (run.Config.Replicas - 1) * shareBytes.Max() / rate;
        double closing = (4 * delay) + shares + stages.Max(stage => (run.Config.Replicas * stage.Sum) + stage.Apply);
        return new StepForecast(Math.Max(compute, wire) + fill + closing, compute, closing, false, "");
    }

    static StepForecast Simulate(PlannedRun run, StageSeconds[] stages, long[] shareBytes, LinkProfile link, int atOnce, StepForecast bound)
    {
        int replicas = run.Config.Replicas;
        SwarmOptions options = new()
        {
            Seed = 1,
            Stages = stages.Length,
            Replicas = replicas,
            Microbatches = run.Config.Microbatches,
            Steps = Steps,
            CheckpointEvery = 0,
            FaultSeconds = 0,
            HealedSeconds = 60 + (3 * Steps * bound.Step),
            RoundTripSeconds = 2 * LinkNeeds.OneWaySeconds(link),
            Costs = new SwarmCosts(
                [.. stages.Select((stage, i) => new StageCosts(stage.Forward, stage.Backward, replicas * stage.Sum, stage.Apply, shareBytes[i]))],
                run.ForwardBytes, run.BackBytes, LinkNeeds.Rate(link.Up), LinkNeeds.Rate(link.Down), atOnce),
        };
        SwarmOutcome outcome = SwarmSimulation.Run(options, null, out SwarmWorld world);
        // what a disturbed run takes is no prediction
        if (!outcome.IsSuccess)
        {
            string stuck = string.Create(CultureInfo.InvariantCulture, $"{world.CommitSeconds.Count} of {Steps} steps were done in {world.Now.Seconds:F0} s; peers wait for answers that are late");
            return bound with { Trouble = outcome.Failure.StartsWith("a peer", StringComparison.Ordinal) ? outcome.Failure : stuck };
        }

        double[] steps = [.. world.CommitSeconds.Zip(world.CommitSeconds.Skip(1), (before, after) => after - before)];
        double[] closings = [.. world.ClosingSeconds.Skip(1)];
        // what is logged is the decision; peers hear of it a delay later, and then apply it
        double closing = Median(closings) + LinkNeeds.OneWaySeconds(link) + stages.Max(stage => stage.Apply);
        return bound with { Step = Median(steps), Closing = closing, IsSimulated = true };
    }

    static double Median(double[] samples) => samples.Order().ElementAt(samples.Length / 2);
}
