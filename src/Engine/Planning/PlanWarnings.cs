// What binds in a plan, in words, with what would change it. A fix that can be computed is computed before it is offered.
using System.Globalization;
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Planning;

static class PlanWarnings
{
    const double WaitingMost = 0.15, SharesMost = 0.15, ImbalanceMost = 1.15;

    static readonly double[] _moreStages = [1.25, 1.5, 2, 3, 4, 6, 8, double.MaxValue];

    public static IReadOnlyList<PlanWarning> Of(RunPlan plan) =>
        [.. Memory(plan), .. Link(plan), .. Time(plan), .. Patience(plan), .. Words(plan)];

    static IEnumerable<PlanWarning> Memory(RunPlan plan)
    {
        long offered = plan.Peers.MemoryBytes;
        StagePlan largest = plan.Stages.MaxBy(stage => stage.NeededBytes)!;
        if (largest.NeededBytes > offered)
        {
            yield return new("memory", Text($"stage {largest.Index} needs {ModelCosts.Size(largest.NeededBytes)}, a peer offers {ModelCosts.Size(offered)}: it would be refused"), MemoryFix(plan));
        }
        else if (plan.CutFailure.Length > 0)
        {
            StagePlan asked = plan.Stages.MaxBy(stage => stage.AskedBytes)!;
            yield return new("memory", Text($"stage {asked.Index} fits a peer ({ModelCosts.Size(asked.NeededBytes)}), but the orchestrator counts elements of four bytes and asks for {ModelCosts.Size(asked.AskedBytes)}, more than the {ModelCosts.Size(offered)} offered"),
                Text($"let peers join with --memory {Math.Ceiling(asked.AskedBytes / 1e9):F0}GB: a peer looks again, with its own device's plan, before it loads"));
        }

        long together = plan.Peers.AtOnce > 0 && !plan.Run.IsOneProcess ? plan.Stages.Sum(stage => stage.NeededBytes) * plan.Run.Config.Replicas : 0;
        if (together > offered)
        {
            yield return new("memory", Text($"the peers together need {ModelCosts.Size(together)}, this machine has {ModelCosts.Size(offered)}"), "use more machines: orchestrate, and join on each");
        }
    }

    // the first change that fits, tried with the plan's own code
    static string MemoryFix(RunPlan plan)
    {
        RunConfig config = plan.Run.Config;
        foreach ((string words, RunConfig changed) in Changes(config, plan.Run.Model.Layers))
        {
            PlannedRun run = plan.Run.With(changed);
            long needed = Planner.LargestNeed(run, plan.Peers.Speed.Sizes);
            if (needed <= plan.Peers.MemoryBytes)
            {
                return Text($"{words} ({ModelCosts.Size(needed)} a peer)");
            }
        }

        return "no change that was tried fits, up to a block a stage with --recompute block and one sequence a microbatch: peers with more memory, or a smaller model";
    }

    static IEnumerable<(string Words, RunConfig Config)> Changes(RunConfig config, int layers)
    {
        if (config.Recompute != RecomputeKind.Block)
        {
            yield return ("--recompute block", config with { Recompute = RecomputeKind.Block });
        }

        RunConfig recomputed = config with { Recompute = RecomputeKind.Block };
        foreach ((string words, RunConfig way) in ((string, RunConfig)[])[("", config), (" --recompute block", recomputed), (" --recompute block --microbatch-size 1", recomputed with { MicrobatchSize = 1 })])
        {
            foreach (double factor in _moreStages)
            {
                yield return (Text($"--stages {Stages(factor)}{words}"), way with { Stages = Stages(factor) });
            }
        }

        int Stages(double factor) => (int)Math.Min(layers, Math.Ceiling(factor * config.Stages));
    }

    static IEnumerable<PlanWarning> Link(RunPlan plan)
    {
        PlannedRun run = plan.Run;
        if (run.IsOneProcess)
        {
            yield break;
        }

        double rate = LinkNeeds.BytesPerSecond(plan.Peers.Link), wire = LinkNeeds.BusyBytes(run) / rate,
            compute = plan.Slowest.Seconds.Microbatch;
        if (IsLinkBound(plan))
        {
            yield return new("link", Text($"a microbatch keeps a peer's link busy for {Seconds(wire)} and the slowest stage for {Seconds(compute)}: the link sets the pace"),
                run.Model.Boundary == BoundaryKind.None && run.Config.Stages > 1 ? "--boundary anchored sends some 64 times less; --wire int8 half; or a faster link"
                : "--wire int8, a smaller --code-width, or a faster link");
        }

        double shares = (run.Config.Replicas - 1) * plan.Stages.Max(stage => stage.ShareBytes) / rate;
        if (shares > SharesMost * plan.Step.Step)
        {
            yield return new("shares", Text($"every step, gradient shares keep the links between replicas busy for {Seconds(shares)} ({100 * shares / plan.Step.Step:F0} % of the step)"),
                Text($"more --microbatches a step ({Math.Ceiling(run.Config.Microbatches * shares / (SharesMost * plan.Step.Step)):F0} make it about {100 * SharesMost:F0} %), more stages of fewer replicas, or faster links"));
        }

        if (plan.Peers.Link.Up.Loss > 0 || plan.Peers.Link.Down.Loss > 0)
        {
            yield return new("loss", $"the link loses {100 * Math.Max(plan.Peers.Link.Up.Loss, plan.Peers.Link.Down.Loss):0.###} % of its packets, which this plan does not count", "rehearse it: link emulate");
        }
    }

    static bool IsLinkBound(RunPlan plan) =>
        LinkNeeds.BusyBytes(plan.Run) / LinkNeeds.BytesPerSecond(plan.Peers.Link) > plan.Slowest.Seconds.Microbatch;

    static IEnumerable<PlanWarning> Time(RunPlan plan)
    {
        RunConfig config = plan.Run.Config;
        StepForecast step = plan.Step;
        if (plan.Run.IsOneProcess)
        {
            yield break;
        }

        if (step.Waiting > WaitingMost * step.Step && !IsLinkBound(plan))
        {
            // waiting hardly depends on M: with k times the microbatches it is 1/k of the compute
            double wanted = config.Microbatches * step.Waiting / (WaitingMost * (step.Step - step.Waiting)) * (1 - WaitingMost);
            yield return new("bubble", Text($"peers wait for {100 * step.Waiting / step.Step:F0} % of a step: {(config.Microbatches == 1 ? "one microbatch is" : Text($"{config.Microbatches} microbatches are"))} few for {config.Stages} stages x {config.Replicas} replicas"),
                Text($"about {Math.Ceiling(Math.Max(wanted, config.Microbatches + 1)):F0} microbatches bring it to {100 * WaitingMost:F0} %; or more, smaller ones"));
        }

        double mean = plan.Stages.Average(stage => stage.Seconds.Microbatch), most = plan.Slowest.Seconds.Microbatch;
        if (most > ImbalanceMost * mean)
        {
            yield return new("balance", Text($"stage {plan.Slowest.Index} takes {most / mean:F2} of the mean stage's time{(plan.Slowest.Range.HasHead ? ": it has the head" : "")}"),
                plan.Run.Model.HasCodes ? "another number of stages, or a faster peer for it: boundaries are part of the model and stay where they are" : "another number of stages, or a faster peer for it");
        }
    }

    static IEnumerable<PlanWarning> Patience(RunPlan plan)
    {
        PlannedRun run = plan.Run;
        if (run.IsOneProcess)
        {
            yield break;
        }

        double rate = LinkNeeds.BytesPerSecond(plan.Peers.Link);
        double microbatch = plan.Slowest.Seconds.Microbatch, hang = ControlSettings.HangFirstDefault.TotalSeconds;
        if (microbatch > hang)
        {
            yield return new("patience", Text($"a microbatch takes {Seconds(microbatch)}; a peer whose first one takes more than {hang:F0} s passes for hung"), "fewer sequences a microbatch (--microbatch-size), or more stages");
        }

        ScheduleSettings schedule = Hosting.Swarm.RunSegments.ScheduleOf(run.Model, run.Config);
        double code = run.ForwardBytes / rate, patience = schedule.TransferLeast.TotalSeconds;
        if (run.Config.Stages > 1 && code > patience)
        {
            yield return new("patience", Text($"a code takes {Seconds(code)} on the wire; a peer that has not taken the first one within {patience:F0} s is suspected, though it is the link"), "a narrower boundary, fewer sequences a microbatch, or a faster link");
        }

        if (plan.Step.Trouble.Length > 0)
        {
            yield return new("simulation", $"under virtual time the run does not go as it should: {plan.Step.Trouble}", "what the warnings above name");
        }
    }

    static IEnumerable<PlanWarning> Words(RunPlan plan)
    {
        ModelConfig named = ResolvedRun.LoadModel(plan.Run.Config.Model);
        if (named.Vocabulary != plan.Run.Model.Vocabulary && plan.Run.Config.Tokenizer == "byte" && plan.Run.Model.Vocabulary == plan.Run.TokenizerVocabulary)
        {
            yield return new("vocabulary", Text($"the byte tokenizer gives the model a vocabulary of {plan.Run.Model.Vocabulary:N0}; {plan.Run.Config.Model} is made for {named.Vocabulary:N0}"),
                Text($"name the --tokenizer, or plan with --vocabulary {named.Vocabulary}"));
        }
    }

    /// <summary>A time for people.</summary>
    public static string Seconds(double seconds) =>
        seconds < 0.001 ? Text($"{1e6 * seconds:F0} us") : seconds < 1 ? Text($"{1e3 * seconds:F1} ms") : seconds < 120 ? Text($"{seconds:F2} s")
        : seconds < 7200 ? Text($"{seconds / 60:F1} min") : seconds < 172800 ? Text($"{seconds / 3600:F1} h") : Text($"{seconds / 86400:F1} days");

    static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
