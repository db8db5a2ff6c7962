// How much memory a stage plans: rows of a microbatch, microbatches in flight, what backward recomputes; and how codes travel.
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>Sizes that fix a stage's activation memory.</summary>
/// <param name="Sequences">B, the most sequences of a microbatch.</param>
/// <param name="Tokens">T, the most tokens of a sequence.</param>
/// <param name="Wire">How codes cross the model's boundaries: between stages, and rounded in the same way within one.</param>
/// <param name="Slots">Microbatches in flight, each with its own activations.</param>
/// <param name="Training">False plans forward only: one set of activations for all blocks, no gradients.</param>
/// <param name="Cached">True plans a key-value cache of the model's context for one sequence; not for training.</param>
/// <param name="Offload">True keeps what blocks keep in host memory, where the device has a memory of its own; only in training.</param>
sealed record StageOptions(
    int Sequences, int Tokens, WireFormat Wire, int Slots = 1, RecomputeKind Recompute = RecomputeKind.None, bool Training = true, bool Cached = false, bool Offload = false)
{
    /// <summary>R = B*T.</summary>
    public int Rows => Sequences * Tokens;
}
