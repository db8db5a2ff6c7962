// Where a call stands: how many sequences and tokens, and at which position they start (beyond 0 only when generating).
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>The rows of one forward or backward call.</summary>
/// <param name="Shape">Sequences, tokens and heads of this call.</param>
/// <param name="Ids">Token ids [R, 1]: an anchored receiver reads them.</param>
/// <param name="Start">Position of the first token.</param>
/// <param name="Cache">Earlier keys and values; empty unless generating.</param>
readonly record struct BlockPass(AttentionShape Shape, Tensor Ids, int Start, KeyValueCache Cache);
