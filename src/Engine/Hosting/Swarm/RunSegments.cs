// What a placement may move: a model with codes can be cut at its boundaries only, so the pieces between them are the units
// that the orchestrator places; a model without codes can be cut before any block.
//   bytes(stage) = shared + sum over its segments of (state + slots * activations + the other replicas' gradient shares)
// The plan of a stage's worker, laid out over no memory, gives each term; shared is the scratch that a holder of everything has,
// packed panels and the slots of payloads. In-flight microbatches are those of the first stage, which has most. It is counted for
// both kinds of device: on one apart elements of products have two bytes, and slots and shares lie beside it. A peer looks again
// with its own plan before it allocates.
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;
using OrionNative.Kernels;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Hosting.Swarm;

static class RunSegments
{
    const long SavedBytesPerParameter = 12;   // weight, two moments

    /// <summary>First blocks of the segments, and past them the number of blocks.</summary>
    public static int[] Edges(ModelConfig model) =>
        model.HasCodes ? [0, .. model.Boundaries, model.Layers] : [.. Enumerable.Range(0, model.Layers + 1)];

    /// <summary>The blocks of a slice of segments.</summary>
    public static StageRange Range(ModelConfig model, StageSlice slice)
    {
        int[] edges = Edges(model);
        return new StageRange(edges[slice.FirstBlock], edges[slice.FirstBlock + slice.BlockCount], model.Layers);
    }

    /// <summary>Bytes of a checkpoint's values at most.</summary>
    public static long StateBytes(ModelConfig model) => SavedBytesPerParameter * model.Parameters;

    /// <summary>Cost in FLOP of a step a token, as MFU counts them, and bytes of every segment; the first and the last hold the ends.</summary>
    public static ModelCosts Costs(ModelConfig model, RunConfig run)
    {
        int[] edges = Edges(model);
        double[] costs = [.. edges.Zip(edges.Skip(1), (from, to) => model.TrainingFlopPerToken(from, to, run.Sequence))];
        using IDevice device = Devices.Open("cpu", 1);
        (long[] bytes, long shared) = BytesOn(device, model, run);
        return new ModelCosts(costs, bytes, 0, 0, 0, 0) { SharedBytes = shared, Apart = BytesOn(new CudaOnPaper("a card"), model, run) };
    }

    static (long[] Segments, long Shared) BytesOn(IDeviceSizes device, ModelConfig model, RunConfig run)
    {
        int slots = WorkerSlots(ScheduleOf(model, run), stage: 0);
        int[] edges = Edges(model);
        long[] bytes = new long[edges.Length - 1];
        for (int i = 0; i < bytes.Length; i++)
        {
            MemoryPlan plan = StageWorker.Plan(model, new StageRange(edges[i], edges[i + 1], model.Layers), run, device, slots);
            bytes[i] = NeededBytes(plan, poolBytes: 0, run.Replicas, device.IsApart) - plan.Scratch;
        }

        long scratch = StageWorker.Plan(model, StageRange.Whole(model), run, device, slots).Scratch;
        return (bytes, scratch + (device.IsApart ? 0 : PeerWork.PoolBytes(model, run)));
    }

    /// <summary>What a peer must have for a stage: the worker's plan, and where operations compute in host memory the slots of payloads,
    /// what was offloaded, and the shares of the other replicas, which a reduction puts together. On a device apart those lie beside it.</summary>
    public static long NeededBytes(in MemoryPlan plan, long poolBytes, int replicas, bool isApart) =>
        plan.Total + (isApart ? 0 : poolBytes + plan.Host + ShareBytes(plan, replicas));

    /// <summary>Bytes of the shares that come from the other replicas of a stage; the plan has two gradients.</summary>
    public static long ShareBytes(in MemoryPlan plan, int replicas) => (replicas - 1) * (plan.Gradients / 2);

    /// <summary>The limits of a peer's schedule in this run.</summary>
    public static ScheduleSettings ScheduleOf(ModelConfig model, RunConfig run) =>
        new() { StageCount = run.Stages, MicrobatchCount = run.Microbatches, CodeBytes = CodePayload.Of(model, run).ForwardBytes };

    /// <summary>Microbatches whose activations a stage's worker keeps: those in flight and the one that is replayed.</summary>
    public static int WorkerSlots(ScheduleSettings schedule, int stage) => schedule.SlotCount(stage) + 1;
}
