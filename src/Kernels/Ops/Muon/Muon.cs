// Muon: momentum whose update is replaced by the nearest (semi-)orthogonal matrix, through five Newton-Schulz steps.
//   g = gradient*scale    m = mu*m + g    u = g + mu*m (Nesterov)    X = u/(|u|_F + 1e-7), transposed if rows > columns
//   5 times: A = X*X^T, B = b*A + c*A*A, X = a*X + B*X          (a,b,c) = (3.4445, -4.7750, 2.0315)   Jordan et al. 2024
//   w = w*(1 - lr*decay) - lr * 0.2*sqrt(max(rows, columns)) * X     the scale matches AdamW's update size, arXiv:2502.16982
namespace OrionNative.Kernels;

/// <summary>What changes from step to step, and the constants of the rule.</summary>
public readonly record struct MuonStep(float LearningRate, float Momentum, float WeightDecay)
{
    /// <summary>Bytes of device memory that <see cref="IOps.SetMuon"/> fills.</summary>
    public const int SettingsBytes = 64;
}

public partial interface IScratchSizes
{
    /// <summary>Bytes of scratch memory for <see cref="IOps.Muon"/> on a [rows, columns] matrix.</summary>
    long MuonBytes(int rows, int columns);
}

public partial interface IOps
{
    /// <summary>Puts what changes from step to step where <see cref="Muon"/> reads it: in the order of the calls, but never recorded.</summary>
    void SetMuon(MuonStep step, nint settings);

    /// <summary>One step on a matrix weight[rows, columns] with gradient and momentum in Float32, by the settings of <see cref="SetMuon"/>.
    /// Scale is one Float32, the factor on the gradient; below zero nothing moves, neither weight nor momentum.</summary>
    void Muon(Tensor weight, Tensor low, Tensor gradient, Tensor momentum, nint settings, Tensor scale, nint scratch);
}
