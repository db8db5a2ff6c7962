// From a run and what is assumed of its peers to the plan. Nothing here is a second opinion: memory is what a peer lays out and looks
// for before it loads, the cut is the orchestrator's, bytes are those of the payloads that cross, FLOP those of the metrics, and time
// comes from the state machines that will run.
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Kernels;

namespace OrionNative.Engine.Planning;

static class Planner
{
    /// <exception cref="ConfigurationException">The device cannot compute the model, or stages do not share its blocks.</exception>
    public static RunPlan Of(PlannedRun run, PeerAssumptions peers)
    {
        DeviceFit.Check(run.Model, peers.Speed.Sizes);
        if (!run.IsOneProcess)
        {
            ControlLimits.Check(run.Config, run.Model);
        }

        StageRange[] ranges = run.Cut(peers.MemoryBytes, peers.Speed.Sizes.IsApart, out string failure);
        ranges = ranges.Length > 0 ? ranges : run.Cut(long.MaxValue, peers.Speed.Sizes.IsApart, out _);
        StagePlan[] stages = [.. ranges.Select((range, i) => StageOf(run, peers.Speed, range, i))];
        StepForecast step = StepForecaster.Of(
            run, [.. stages.Select(stage => stage.Seconds)], [.. stages.Select(stage => stage.ShareBytes)], peers.Link, peers.AtOnce);

        double places = peers.AtOnce > 0 ? peers.AtOnce : run.Config.Stages * run.Config.Replicas, peak = peers.Speed.PeakFlops * places;
        double flop = run.Config.TokensPerStep * run.Model.TrainingFlopPerToken(run.Config.Sequence);
        double compute = run.Config.Microbatches * stages.Sum(stage => stage.Seconds.Microbatch);
        int every = run.Config.CheckpointEvery, checkpoints = every == 0 ? 1 : (run.Config.Steps + every - 1) / every;
        RunPlan plan = new(run, peers, stages, failure, step, flop, compute / (places * step.Step), flop / (peak * step.Step), checkpoints);
        return plan with { Warnings = PlanWarnings.Of(plan) };
    }

    /// <summary>Memory of a stage as its peer has it: the plan, and what the peer looks for.</summary>
    public static (MemoryPlan Plan, long Needed, long Buffers) MemoryOf(PlannedRun run, IDeviceSizes device, StageRange range, int stage)
    {
        if (run.IsOneProcess)
        {
            MemoryPlan whole = Trainer.Plan(run.Model, run.Config, device);
            return (whole, whole.Total, 0);
        }

        int slots = RunSegments.WorkerSlots(RunSegments.ScheduleOf(run.Model, run.Config), stage);
        MemoryPlan plan = StageWorker.Plan(run.Model, range, run.Config, device, slots);
        long pool = PeerWork.PoolBytes(run.Model, run.Config);
        return (plan, RunSegments.NeededBytes(plan, pool, run.Config.Replicas, device.IsApart), pool + RunSegments.ShareBytes(plan, run.Config.Replicas));
    }

    /// <summary>The largest need of a peer, over the stages that a run has.</summary>
    public static long LargestNeed(PlannedRun run, IDeviceSizes device) =>
        run.Cut(long.MaxValue, device.IsApart, out _).Select((range, i) => MemoryOf(run, device, range, i).Needed).DefaultIfEmpty(long.MaxValue).Max();

    static StagePlan StageOf(PlannedRun run, IPeerSpeed speed, StageRange range, int index)
    {
        (MemoryPlan memory, long needed, long buffers) = MemoryOf(run, speed.Sizes, range, index);
        int replicas = run.Config.Replicas;
        long share = replicas > 1 ? RunSegments.ShareBytes(memory, 2) : 0;
        double microbatches = (double)run.Config.Microbatches / replicas, shares = (replicas - 1.0) * share;
        double forward = microbatches * run.ForwardBytes, back = microbatches * run.BackBytes;
        double ids = run.IsOneProcess ? 0 : microbatches * run.Payload.IdsBytes;
        return new StagePlan(
            index, range, run.ParametersOf(range), memory, needed, AskedBytes(run, range, speed.Sizes.IsApart), buffers, share, run.FlopOf(range), speed.Of(range),
            (range.HasHead ? 0 : forward) + (range.HasEmbedding ? 0 : back) + shares,
            (range.HasEmbedding ? ids : forward) + (range.HasHead ? 0 : back) + shares, run.StateBytesOf(range));
    }

    static long AskedBytes(PlannedRun run, StageRange range, bool isApart)
    {
        if (run.IsOneProcess)
        {
            return 0;
        }

        int[] edges = RunSegments.Edges(run.Model);
        int first = Array.IndexOf(edges, range.FirstBlock), end = Array.IndexOf(edges, range.EndBlock);
        return RunSegments.Costs(run.Model, run.Config).Bytes(new StageSlice(first, end - first), isApart);
    }
}
