// A loss or a gradient that is not a number stops the run before the weights are touched.
namespace OrionNative.Engine.Training;

/// <summary>The loss or the gradient norm of a step is NaN or infinite. The weights and the optimizer state are those of the
/// step before, and everything saved is untouched.</summary>
public sealed class NonFiniteException(long step, string quantity, double value)
    : Exception($"step {step}: the {quantity} is not finite ({value}). The weights are still those of step {step - 1}; go on from the last checkpoint with a lower --lr, a longer --warmup, or a --clip of 1")
{
    /// <summary>The step, counted from 1, that was not applied.</summary>
    public long Step { get; } = step;

    /// <summary>"loss" or "gradient norm".</summary>
    public string Quantity { get; } = quantity;

    /// <summary>What it was.</summary>
    public double Value { get; } = value;
}
