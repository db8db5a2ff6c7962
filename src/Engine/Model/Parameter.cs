// One logical tensor of the model, under its Hugging Face name with the global layer index. Several of them may share one
// fused matrix: q|k|v are row ranges of [(H+2G)*D, C], gate|up of [2F, C], so one product serves all.
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>What a tensor is for; decides initial values, weight decay and the optimizer.</summary>
enum ParameterKind
{
    /// <summary>Token embedding: AdamW.</summary>
    Embedding,

    /// <summary>RMSNorm weight: ones at the start, AdamW, never decayed.</summary>
    Norm,

    /// <summary>A matrix between hidden activations, bottleneck matrices included: Muon when asked, else AdamW.</summary>
    Hidden,

    /// <summary>Token embedding of a boundary, or a factor of it: AdamW.</summary>
    Anchor,

    /// <summary>Output head: AdamW.</summary>
    Head,
}

/// <summary>A named weight with its gradient.</summary>
/// <param name="Name">Hugging Face name, e.g. model.layers.3.self_attn.q_proj.weight.</param>
/// <param name="InitialDeviation">Standard deviation of the initial values; 0 for norms, which start at one.</param>
/// <param name="Value">[rows, columns] in the device's compute type.</param>
/// <param name="Low">The master weight's low halves when the compute type is BFloat16, else empty.</param>
/// <param name="Gradient">Float32 of the same shape; empty in a set without gradients.</param>
sealed record Parameter(string Name, ParameterKind Kind, double InitialDeviation, Tensor Value, Tensor Low, Tensor Gradient)
{
    /// <summary>True when weight decay applies.</summary>
    public bool Decays => Kind != ParameterKind.Norm;

    /// <summary>Elements.</summary>
    public long Count => Value.Count;
}

/// <summary>A weight as the forward and backward passes use it, fused where several parameters share a product.</summary>
readonly record struct Weight(Tensor Value, Tensor Gradient);

/// <summary>The weights of one block. What the block does not have is empty.</summary>
/// <param name="QueryKeyValue">[(H+2G)*D, C].</param>
/// <param name="AttentionOutput">[C, H*D].</param>
/// <param name="GateUp">[2F, C].</param>
/// <param name="Down">[C, F].</param>
/// <param name="Encoder">W4 [Z, C] of a block that sends a code.</param>
/// <param name="Decoder">Wd [C, Z] of a block that receives one.</param>
/// <param name="Anchor">A [V, C], or its first factor [V, r].</param>
/// <param name="AnchorProjection">The second factor [C, r].</param>
sealed record BlockWeights(
    Weight AttentionNorm, Weight QueryKeyValue, Weight AttentionOutput, Weight FeedForwardNorm, Weight GateUp, Weight Down,
    Weight Encoder, Weight Decoder, Weight Anchor, Weight AnchorProjection);
