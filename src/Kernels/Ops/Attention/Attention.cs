// Causal grouped-query attention with an online softmax: no T x T matrix in memory.
//   s = q*k^T/sqrt(D) for keys up to the query's position,  p = softmax(s),  o = p*v          FlashAttention-2, arXiv:2307.08691
// backward recomputes p from the log-sum-exp:  dv = p^T*do,  ds = p*(do*v^T - sum(do*o)),  dq = ds*k/sqrt(D),  dk = ds^T*q/sqrt(D)
// Queries and keys were turned by Rotary; backward turns their gradients back on request, for a kernel can do it on the way out.
// Causal FLOP: forward 2*B*H*T*T*D, backward 2.5 times that.
namespace OrionNative.Kernels;

/// <summary>Heads and lengths of an attention call.</summary>
/// <param name="Sequences">B.</param>
/// <param name="Tokens">T, tokens of each sequence.</param>
/// <param name="QueryHeads">H.</param>
/// <param name="KeyValueHeads">G; query head h reads key-value head h / (H/G).</param>
/// <param name="HeadWidth">D.</param>
public readonly record struct AttentionShape(int Sequences, int Tokens, int QueryHeads, int KeyValueHeads, int HeadWidth)
{
    /// <summary>B*T.</summary>
    public int Rows => Sequences * Tokens;

    /// <summary>Columns of a packed row [q | k | v]: (H + 2G) * D.</summary>
    public int PackedColumns => (QueryHeads + (2 * KeyValueHeads)) * HeadWidth;

    /// <summary>Columns of the output: H * D.</summary>
    public int OutputColumns => QueryHeads * HeadWidth;
}

public partial interface IScratchSizes
{
    /// <summary>Bytes of scratch memory for <see cref="IOps.AttentionBackward"/>.</summary>
    long AttentionBackwardBytes(AttentionShape shape);
}

public partial interface IOps
{
    /// <summary>output[B*T, H*D] and logSumExp[B*H, T] (Float32, natural logarithm) from packed qkv[B*T, (H+2G)*D].</summary>
    void AttentionForward(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape);

    /// <summary>gradQkv[B*T, (H+2G)*D] = the gradient; every element is written. scratch holds at least
    /// <see cref="IScratchSizes.AttentionBackwardBytes"/> bytes. With the angles of <see cref="RotaryTable"/> the gradient is that of the rows before
    /// <see cref="Rotary"/> at startPosition: queries and keys are turned back. Without (default), that of qkv as it is.</summary>
    void AttentionBackward(
        Tensor qkv, Tensor output, Tensor gradOutput, Tensor logSumExp, Tensor gradQkv, nint scratch, AttentionShape shape,
        Tensor angles = default, int startPosition = 0);

    /// <summary>Generation: the N rows of qkv[N, (H+2G)*D] are the tokens start..start+N-1 of one sequence. Appends their keys
    /// and values to keys[Tmax, G*D] and values[Tmax, G*D] and writes output[N, H*D], each row attending to all before it.</summary>
    void AttentionCached(Tensor qkv, Tensor keys, Tensor values, int start, Tensor output, AttentionShape shape);
}
