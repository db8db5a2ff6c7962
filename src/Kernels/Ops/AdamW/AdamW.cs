// AdamW with decoupled decay, arXiv:1711.05101. g = gradient * scale
//   m = b1*m + (1-b1)*g     v = b2*v + (1-b2)*g*g     w = w*(1 - lr*decay) - lr * (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps)
namespace OrionNative.Kernels;

/// <summary>What changes from step to step, and the constants of the rule.</summary>
/// <param name="Step">t, from 1.</param>
public readonly record struct AdamWStep(
    int Step, float LearningRate, float Beta1, float Beta2, float Epsilon, float WeightDecay)
{
    /// <summary>Bytes of device memory that <see cref="IOps.SetAdamW"/> fills.</summary>
    public const int SettingsBytes = 64;
}

public partial interface IOps
{
    /// <summary>Puts what changes from step to step where <see cref="AdamW"/> reads it: in the order of the calls, but never recorded.</summary>
    void SetAdamW(AdamWStep step, nint settings);

    /// <summary>One step on weight (compute type; low is its Low16 companion when that is BFloat16, else empty), with the
    /// gradient, m and v in Float32, all of one shape, by the settings of <see cref="SetAdamW"/>. Scale is one Float32, the factor
    /// on the gradient; below zero nothing moves, neither weight nor m and v.</summary>
    void AdamW(Tensor weight, Tensor low, Tensor gradient, Tensor m, Tensor v, nint settings, Tensor scale);
}
