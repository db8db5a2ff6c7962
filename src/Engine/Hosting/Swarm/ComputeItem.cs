// What a peer's compute thread is asked to do: one microbatch as plain values, or an Action for everything that happens a few
// times a step. The slots of a microbatch are shared with the thread until its mark is reached.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

readonly record struct ComputeItem
{
    /// <summary>If it is there, nothing else is. Neither this nor a stage: look at the marks.</summary>
    public Action? Do { get; init; }

    /// <summary>What Do is.</summary>
    public ComputeTask Task { get; init; }

    public StageWorker? Stage { get; init; }

    public ComputeKind Kind { get; init; }

    public int Step { get; init; }

    public int Microbatch { get; init; }

    /// <summary>The state that it was asked of; a later one must not compute it.</summary>
    public int Life { get; init; }

    /// <summary>Bytes of ids that lie behind the output's code, in the first stage.</summary>
    public int IdsBytes { get; init; }

    public Slot? Input { get; init; }

    public Slot? Output { get; init; }

    public Slot? OutputGradient { get; init; }

    public Slot? InputGradient { get; init; }

    public void ShareSlots()
    {
        Input?.Share();
        Output?.Share();
        OutputGradient?.Share();
        InputGradient?.Share();
    }

    public void ReleaseSlots()
    {
        Input?.Release();
        Output?.Release();
        OutputGradient?.Release();
        InputGradient?.Release();
    }
}

/// <summary>A microbatch that was called and is finished when the mark is reached.</summary>
/// <param name="Mark">Of the device's transfers.</param>
/// <param name="Item">What was called.</param>
/// <param name="Called">The number of its loss, see <see cref="StageWorker.LossOf"/>.</param>
/// <param name="Began">When it was called.</param>
readonly record struct UnderWay(long Mark, ComputeItem Item, int Called, long Began);
