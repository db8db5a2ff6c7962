// How long a peer computes: the planner asks, three kinds of peers answer. All peers of a plan are alike.
using OrionNative.Engine.Model;
using OrionNative.Kernels;

namespace OrionNative.Engine.Planning;

/// <summary>Compute of a stage at one peer, in seconds.</summary>
/// <param name="Forward">A microbatch forward.</param>
/// <param name="Backward">A microbatch backward, with what it recomputes.</param>
/// <param name="Sum">Adding one share of gradients and taking the norm.</param>
/// <param name="Apply">The optimizer step.</param>
readonly record struct StageSeconds(double Forward, double Backward, double Sum, double Apply)
{
    /// <summary>A microbatch, there and back.</summary>
    public double Microbatch => Forward + Backward;
}

interface IPeerSpeed
{
    /// <summary>The peer's device, as memory plans see it.</summary>
    IDeviceSizes Sizes { get; }

    /// <summary>FLOP/s under model FLOP utilization; NaN when nobody knows.</summary>
    double PeakFlops { get; }

    /// <summary>Where the times come from, in a sentence.</summary>
    string Source { get; }

    /// <summary>The times of a stage.</summary>
    StageSeconds Of(StageRange range);
}
