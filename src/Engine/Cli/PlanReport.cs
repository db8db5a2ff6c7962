// A plan for people, on 80 columns: what is assumed, memory and compute by stage, bytes by boundary, a step, the run, what binds.
using System.Globalization;
using OrionNative.Engine.Model;
using OrionNative.Engine.Planning;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class PlanReport
{
    const int Columns = 80, Indent = 9;

    public static void Print(RunPlan plan, TextWriter text)
    {
        Head(plan, text);
        Memory(plan, text);
        Compute(plan, text);
        if (!plan.Run.IsOneProcess)
        {
            Boundaries(plan, text);
        }

        Step(plan, text);
        Whole(plan, text);
        text.WriteLine();
        foreach (PlanWarning warning in plan.Warnings)
        {
            Wrapped(text, "binds", warning.Text);
            Wrapped(text, "  fix", warning.Fix);
        }

        if (plan.Warnings.Count == 0)
        {
            text.WriteLine(plan.Run.IsOneProcess ? "binds    nothing: it fits" : "binds    nothing: every stage fits, and transfers hide behind compute");
        }
    }

    static void Head(RunPlan plan, TextWriter text)
    {
        (RunConfig c, ModelConfig m) = (plan.Run.Config, plan.Run.Model);
        Wrapped(text, "model", Say($"{c.Model}: {m.Parameters:N0} parameters{(m.HasCodes ? Say($" ({m.Boundaries.Count * m.BoundaryParameters:N0} of them in boundaries)") : "")}, {m.Layers} blocks of width {m.Width}, vocabulary {m.Vocabulary:N0}"));
        Wrapped(text, "run", Say($"{Count(c.Stages, "stage")} x {Count(c.Replicas, "replica")}; a step is {Count(c.Microbatches, "microbatch")} of {c.MicrobatchSize} x {c.Sequence} tokens, {c.TokensPerStep:N0} tokens; {c.Optimizer}, recompute {c.Recompute}").ToLowerInvariant());
        Wrapped(text, "speed", plan.Peers.Speed.Source);
        if (!plan.Run.IsOneProcess)
        {
            Wrapped(text, "links", $"{plan.Peers.LinkName}, for every peer: up {plan.Peers.Link.Up}; down {plan.Peers.Link.Down}");
        }

        Wrapped(text, "assumed", Say($"{(plan.Run.IsOneProcess ? "one process, no peers" : "all peers alike")}{(plan.Run.IsOneProcess ? "" : plan.Peers.AtOnce > 0 ? Say($", on one machine that lets {plan.Peers.AtOnce} compute at once") : ", each a machine of its own")}; {ModelCosts.Size(plan.Peers.MemoryBytes)} of memory{(plan.Run.IsOneProcess ? "" : " a peer")} ({plan.Peers.MemorySource}){(plan.Run.IsOneProcess ? ". " : "; nobody lost. ")}Not counted: {(plan.Run.IsOneProcess ? "" : "joining, ")}evaluation, writing checkpoints, what the runtime{(plan.Peers.Speed.Sizes.IsApart ? " and CUDA take" : " takes")} for itself"));
    }

    static void Memory(RunPlan plan, TextWriter text)
    {
        (string unit, double scale) = plan.Stages.Max(stage => stage.NeededBytes) >= 10e9 ? ("GB", 1e9) : ("MB", 1e6);
        bool isApart = plan.Peers.Speed.Sizes.IsApart;
        text.WriteLine();
        text.WriteLine($"memory{(plan.Run.IsOneProcess ? "" : " of a peer")}, {unit}");
        text.WriteLine("stage blocks  weights gradients optimizer activations scratch buffers    total");
        foreach ((string label, StagePlan s) in Groups(plan, (a, b) => a.NeededBytes == b.NeededBytes && a.BufferBytes == b.BufferBytes))
        {
            MemoryPlan m = s.Memory;
            string activations = m.Slots > 1 ? Say($"{m.Slots}x{m.Slot / scale:F1}") : Say($"{m.Slot / scale:F1}");
            text.WriteLine(Say($"{label,-11} {m.Weights / scale,9:F1} {m.Gradients / scale,9:F1} {m.OptimizerState / scale,9:F1} {activations,11} {m.Scratch / scale,7:F1} {s.BufferBytes / scale,7:F1} {s.NeededBytes / scale,8:F1}{(s.NeededBytes > plan.Peers.MemoryBytes ? " !" : "")}"));
        }

        if (!plan.Run.IsOneProcess)
        {
            Wrapped(text, "", $"buffers: slots for payloads{(plan.Run.Config.Replicas > 1 ? " and the gradient shares of the other replicas" : "")}{(isApart ? ", in the host's memory and not in the total" : "")}. {Offloaded(plan, scale, unit)}The orchestrator asks a peer for at most {ModelCosts.Size(plan.Stages.Max(stage => stage.AskedBytes))}");
        }
    }

    static string Offloaded(RunPlan plan, double scale, string unit) =>
        plan.Stages.Max(stage => stage.Memory.Host) is > 0 and long host ? Say($"Offloaded to the host: {host / scale:F1} {unit} at most. ") : "";

    static void Compute(RunPlan plan, TextWriter text)
    {
        text.WriteLine();
        text.WriteLine(plan.Run.IsOneProcess ? "compute" : "compute of a peer");
        text.WriteLine("stage blocks    parameters  FLOP/microbatch    forward   backward     a step");
        foreach ((string label, StagePlan s) in Groups(plan, (a, b) => a.Parameters == b.Parameters && a.Seconds == b.Seconds))
        {
            text.WriteLine(Say($"{label,-11} {s.Parameters,14:N0} {Scaled(s.FlopPerMicrobatch),16} {Time(s.Seconds.Forward),10} {Time(s.Seconds.Backward),10} {Time(plan.Run.MicrobatchesOfAReplica * s.Seconds.Microbatch),10}"));
        }
    }

    static void Boundaries(RunPlan plan, TextWriter text)
    {
        PlannedRun run = plan.Run;
        double rate = LinkNeeds.BytesPerSecond(plan.Peers.Link), delay = LinkNeeds.OneWaySeconds(plan.Peers.Link);
        text.WriteLine();
        if (run.Config.Stages > 1)
        {
            text.WriteLine(Say($"boundaries: {run.Config.Stages - 1}, {(run.Model.HasCodes ? run.Model.Boundary.ToString().ToLowerInvariant() : "full activations")}; {run.Model.BoundaryWidth} values a token as {Wire(run.Config.Wire)}"));
            text.WriteLine("  each        a microbatch   than bf16      a step    at each peer  on the wire");
            double share = 1.0 / run.Config.Replicas;
            foreach ((string name, long bytes) in ((string, long)[])[("forward", run.ForwardBytes), ("back", run.BackBytes)])
            {
                double step = (double)bytes * run.Config.Microbatches;
                text.WriteLine(Say($"  {name,-10} {ModelCosts.Size(bytes),13} {Beside(bytes, run.FullBytes),11} {ModelCosts.Size((long)step),11} {8e-6 * step * share / plan.Step.Step,9:F2} Mbit/s {Time(bytes / rate),12}"));
            }

            double wire = LinkNeeds.BusyBytes(run) / rate, busy = run.MicrobatchesOfAReplica * wire;
            Wrapped(text, "", Say($"A peer's link is busy with codes for {100 * busy / plan.Step.Step:F1} % of a step: {Hides(wire, plan)}. A code is under way for {Time(delay)} more"));
        }

        if (run.Config.Replicas > 1)
        {
            long share = plan.Stages.Max(stage => stage.ShareBytes);
            Wrapped(text, run.Config.Stages > 1 ? "" : "shares", Say($"Between replicas, a step: {Count(run.Config.Replicas - 1, "gradient share")} of {ModelCosts.Size(share)} out and in at each peer of the largest stage, {Time((run.Config.Replicas - 1) * share / rate)} on the wire"));
        }
    }

    static string Beside(double bytes, double full) =>
        bytes < 0.95 * full ? (full / bytes < 100 ? Say($"{full / bytes:F1}x less") : Say($"{full / bytes:F0}x less")) : bytes < 1.05 * full ? "the same" : Say($"{bytes / full:F1}x more");

    static string Hides(double wire, RunPlan plan) => wire <= plan.Slowest.Seconds.Microbatch
        ? "transfer hides behind compute" : "transfer does not hide behind compute";

    static void Step(RunPlan plan, TextWriter text)
    {
        StepForecast step = plan.Step;
        text.WriteLine();
        string how = plan.Run.IsOneProcess ? "microbatches and the optimizer, one after the other"
            : step.IsSimulated ? "the run's own state machines under virtual time"
            : step.Trouble.Length > 0 ? "what the work alone would take; the run does not go as it should, see below" : "a lower bound: work, pipeline, closing; too long to simulate";
        Wrapped(text, "step", Say($"{Time(step.Step)}, {plan.TokensPerSecond:N0} tokens a second ({how})"));
        if (!plan.Run.IsOneProcess)
        {
            string busiest = plan.Peers.AtOnce > 0 ? "compute on the shared machine" : "compute of the slowest stage";
            foreach ((string what, double seconds) in ((string, double)[])
                [(busiest, step.Compute), ("filling and draining the pipeline, waiting", step.Waiting), ("closing: shares, sum, 4 one-way delays, optimizer", step.Closing)])
            {
                text.WriteLine(Say($"  {Time(seconds),10}  {100 * seconds / step.Step,5:F1} %  {what}"));
            }
        }

        string who = plan.Run.IsOneProcess ? "it computes" : plan.Peers.AtOnce > 0 ? "the machine computes" : "peers compute";
        double rate = plan.FlopPerStep / step.Step;
        string mfu = double.IsNaN(plan.Mfu) ? Say($"{Scaled(rate)}/s of the model; MFU is not known without --peer-device") : Say($"MFU {100 * plan.Mfu:F1} %: {Scaled(rate)}/s of the model, of {Scaled(rate / plan.Mfu)}/s");
        Wrapped(text, "use", Say($"{who} {100 * Math.Min(1, plan.Efficiency):F1} % of the time; {mfu}"));
    }

    static void Whole(RunPlan plan, TextWriter text)
    {
        RunConfig c = plan.Run.Config;
        text.WriteLine();
        Wrapped(text, "in all", Say($"{Count(c.Steps, "step")}, {(double)c.TokensPerStep * c.Steps:N0} tokens, {Time(plan.RunSeconds)}"));
        if (!plan.Run.IsOneProcess)
        {
            foreach ((string label, StagePlan s) in Groups(plan, (a, b) => a.SentBytes == b.SentBytes && a.ReceivedBytes == b.ReceivedBytes))
            {
                Wrapped(text, "", Say($"a peer of stage {label.Split(' ')[0]} sends {Bytes(s.SentBytes * c.Steps)} and receives {Bytes(s.ReceivedBytes * c.Steps)}"));
            }
        }

        Wrapped(text, "disk", Say($"a checkpoint has {Bytes(plan.CheckpointBytes)}; {Count(plan.Checkpoints, "of them", "of them")} written, {Math.Min(c.Keep, plan.Checkpoints)} kept{(plan.Run.IsOneProcess ? "" : ": its parts go from the peers to the orchestrator, beside the steps")}"));
    }

    /// <summary>Neighbours that are alike become one line.</summary>
    static IEnumerable<(string Label, StagePlan Stage)> Groups(RunPlan plan, Func<StagePlan, StagePlan, bool> alike)
    {
        for (int first = 0, next; first < plan.Stages.Length; first = next)
        {
            next = first + 1;
            while (next < plan.Stages.Length && alike(plan.Stages[first], plan.Stages[next]))
            {
                next++;
            }

            (StageRange a, StageRange b) = (plan.Stages[first].Range, plan.Stages[next - 1].Range);
            string stages = next - first == 1 ? Say($"{first}") : Say($"{first}-{next - 1}"), blocks = b.EndBlock - a.FirstBlock == 1 ? Say($"{a.FirstBlock}") : Say($"{a.FirstBlock}-{b.EndBlock - 1}");
            yield return ($"{stages,-5} {blocks}", plan.Stages[first]);
        }
    }

    static void Wrapped(TextWriter text, string label, string sentence)
    {
        string line = label.PadRight(Indent);
        bool isEmpty = true;
        foreach (string word in sentence.Split(' '))
        {
            if (!isEmpty && line.Length + 1 + word.Length > Columns)
            {
                text.WriteLine(line);
                (line, isEmpty) = (new string(' ', Indent), true);
            }

            (line, isEmpty) = (line + (isEmpty ? "" : " ") + word, false);
        }

        text.WriteLine(line);
    }

    static string Count(long count, string one, string? many = null) => Say($"{count:N0} {(count == 1 ? one : many ?? (one.EndsWith("ch", StringComparison.Ordinal) ? one + "es" : one + "s"))}");

    static string Wire(Kernels.WireFormat wire) => wire switch { Kernels.WireFormat.Float32 => "fp32", Kernels.WireFormat.BFloat16 => "bf16", _ => "int8" };

    static string Bytes(double bytes) => bytes >= 1e12 ? Say($"{bytes / 1e12:F2} TB") : ModelCosts.Size((long)bytes);

    static string Scaled(double flop) => flop >= 1e15 ? Say($"{flop / 1e15:F2} PFLOP") : flop >= 1e12 ? Say($"{flop / 1e12:F2} TFLOP") : flop >= 1e9 ? Say($"{flop / 1e9:F2} GFLOP") : Say($"{flop / 1e6:F2} MFLOP");

    static string Time(double seconds) => PlanWarnings.Seconds(seconds);

    static string Say(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
