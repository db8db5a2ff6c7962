// A peer that is not here: a rate in products that somebody states, and memory-bound work at the bandwidth of its memory.
//   forward = F/3 / rate      backward = 2F/3 / rate, and with recomputed blocks another F/3      F model FLOP of a microbatch
//   sum 20 P bytes            apply 60 P bytes (gradient moved and cleared, weights and two moments read and written)
// Muon adds 30 C FLOP a parameter (five Newton-Schulz steps of three products). What a card's bus adds hides behind compute.
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Planning;

/// <param name="run">The run that is planned.</param>
/// <param name="sizes">The peer's device.</param>
/// <param name="peakFlops">Its published rate, or NaN.</param>
/// <param name="flops">FLOP/s that it is said to sustain in a stage.</param>
/// <param name="bytesPerSecond">Bandwidth of its memory.</param>
/// <param name="source">Who says so.</param>
sealed class AssumedSpeed(PlannedRun run, IDeviceSizes sizes, double peakFlops, double flops, double bytesPerSecond, string source) : IPeerSpeed
{
    const double SumBytesPerParameter = 20, ApplyBytesPerParameter = 60;

    /// <inheritdoc/>
    public IDeviceSizes Sizes => sizes;

    /// <inheritdoc/>
    public double PeakFlops => peakFlops;

    /// <inheritdoc/>
    public string Source => source;

    /// <inheritdoc/>
    public StageSeconds Of(StageRange range)
    {
        double third = run.FlopOf(range) / 3 / flops, parameters = run.ParametersOf(range);
        double backward = run.Config.Recompute == RecomputeKind.Block ? 3 * third : 2 * third;
        double muon = run.Config.Optimizer == OptimizerKind.Muon ? 30.0 * run.Model.Width * parameters / flops : 0;
        return new StageSeconds(third, backward, SumBytesPerParameter * parameters / bytesPerSecond, (ApplyBytesPerParameter * parameters / bytesPerSecond) + muon);
    }
}
