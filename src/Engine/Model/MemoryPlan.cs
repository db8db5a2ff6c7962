// What a stage will occupy, known before anything is allocated: the same layout code, run over no memory.
//   total = weights + gradients + optimizer state + slots * activations + scratch
// The runtime itself (code, threads, garbage-collected heap) comes on top and is measured where the plan is printed.
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>Bytes by purpose.</summary>
/// <param name="Weights">Values, with the low halves where the compute type is BFloat16.</param>
/// <param name="Gradients">Float32 accumulators.</param>
/// <param name="OptimizerState">Moments and the optimizer's scratch.</param>
/// <param name="Slot">Activations of one microbatch in flight.</param>
/// <param name="Slots">Microbatches in flight.</param>
/// <param name="Scratch">Memory that no microbatch keeps; with offloaded activations also the blocks that are on the device.</param>
/// <param name="Cache">Keys and values when generating.</param>
/// <param name="Host">Page-locked host memory of what was offloaded; not part of the total.</param>
readonly record struct MemoryPlan(
    long Weights, long Gradients, long OptimizerState, long Slot, int Slots, long Scratch, long Cache, long Host = 0)
{
    /// <summary>Everything.</summary>
    public long Total => Weights + Gradients + OptimizerState + (Slot * Slots) + Scratch + Cache;

    /// <summary>The plan of a stage, without its optimizer.</summary>
    public static MemoryPlan Of(ModelConfig model, StageRange range, StageOptions options, IDeviceSizes device)
    {
        (long values, long gradients) = ParameterSet.Measure(model, range, device.ComputeType);
        StageMemory memory = new(model, range, options, device, new Arena(0));
        return new MemoryPlan(values, options.Training ? gradients : 0, 0, memory.SlotBytes, options.Slots, memory.ScratchBytes, memory.CacheBytes, memory.HostBytes);
    }

    /// <summary>The sum of two stages in one process.</summary>
    public static MemoryPlan operator +(MemoryPlan a, MemoryPlan b) => new(
        a.Weights + b.Weights, a.Gradients + b.Gradients, a.OptimizerState + b.OptimizerState, (a.Slot * a.Slots) + (b.Slot * b.Slots), 1,
        a.Scratch + b.Scratch, a.Cache + b.Cache, a.Host + b.Host);

    /// <summary>One line for people, in MB (10^6 bytes).</summary>
    public override string ToString() =>
        $"{Total / 1e6:F1} MB: weights {Weights / 1e6:F1}, gradients {Gradients / 1e6:F1}, optimizer {OptimizerState / 1e6:F1}, "
        + $"activations {Slot * Slots / 1e6:F1}{(Slots > 1 ? $" ({Slots} x {Slot / 1e6:F1})" : "")}, scratch {Scratch / 1e6:F1}"
        + (Cache > 0 ? $", cache {Cache / 1e6:F1}" : "")
        + (Host > 0 ? $"; on the host {Host / 1e6:F1}" : "");
}
