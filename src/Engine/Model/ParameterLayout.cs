// Where every weight of a stage lies: fused matrices for the products, and over them the logical tensors that names,
// optimizers and checkpoints speak of. The list is in canonical order: embedding, each block's tensors, final norm, head.
// Invariant: the lists of the stages of any cut, one after the other, are the uncut model's list.
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>The tensors of one stage, laid into arenas that may be dry.</summary>
sealed class ParameterLayout
{
    const double Deviation = 0.02;

    readonly List<Parameter> _all = [];
    readonly List<Weight> _storage = [];
    readonly ElementType _type;
    readonly Arena _values;
    readonly Arena? _gradients;

    /// <summary>Lays the stage's weights into <paramref name="values"/>, and gradients if an arena for them is given.</summary>
    public ParameterLayout(ModelConfig model, StageRange range, ElementType type, Arena values, Arena? gradients)
    {
        (_type, _values, _gradients) = (type, values, gradients);
        if (range.HasEmbedding)
        {
            Embedding = Take(ParameterKind.Embedding, "model.embed_tokens.weight", model.Vocabulary, model.Width);
        }

        Blocks = new BlockWeights[range.BlockCount];
        for (int i = 0; i < Blocks.Length; i++)
        {
            Blocks[i] = TakeBlock(model, range.FirstBlock + i);
        }

        if (range.HasHead)
        {
            FinalNorm = TakeNorm("model.norm.weight", model.Width);
            Head = Take(ParameterKind.Head, "lm_head.weight", model.Vocabulary, model.Width);
        }
    }

    /// <summary>Logical tensors in canonical order.</summary>
    public IReadOnlyList<Parameter> All => _all;

    /// <summary>The fused matrices and single tensors that <see cref="All"/> are views of; disjoint, covering everything.</summary>
    public IReadOnlyList<Weight> Storage => _storage;

    /// <summary>[V, C]; empty unless the stage has the embedding.</summary>
    public Weight Embedding { get; }

    /// <summary>The stage's blocks in order.</summary>
    public BlockWeights[] Blocks { get; }

    /// <summary>[1, C]; empty unless the stage has the head.</summary>
    public Weight FinalNorm { get; }

    /// <summary>[V, C]; empty unless the stage has the head.</summary>
    public Weight Head { get; }

    BlockWeights TakeBlock(ModelConfig model, int layer)
    {
        string prefix = $"model.layers.{layer}.";
        int queries = model.QueryHeads * model.HeadWidth, keys = model.KeyValueHeads * model.HeadWidth;
        Weight attentionNorm = TakeNorm(prefix + "input_layernorm.weight", model.Width);
        Weight queryKeyValue = Take(ParameterKind.Hidden, model.Width, Deviation, (prefix + "self_attn.q_proj.weight", queries), (prefix + "self_attn.k_proj.weight", keys), (prefix + "self_attn.v_proj.weight", keys));
        Weight attentionOutput = Take(ParameterKind.Hidden, prefix + "self_attn.o_proj.weight", model.Width, queries);
        Weight feedForwardNorm = TakeNorm(prefix + "post_attention_layernorm.weight", model.Width);
        Weight gateUp = Take(ParameterKind.Hidden, model.Width, Deviation, (prefix + "mlp.gate_proj.weight", model.FeedForward), (prefix + "mlp.up_proj.weight", model.FeedForward));
        Weight down = Take(ParameterKind.Hidden, prefix + "mlp.down_proj.weight", model.Width, model.FeedForward);
        bool sends = model.SendsCode(layer), receives = model.ReceivesCode(layer);
        Weight encoder = sends ? Take(ParameterKind.Hidden, prefix + "bottleneck.encoder.weight", model.CodeWidth, model.Width) : default;
        Weight decoder = receives ? Take(ParameterKind.Hidden, prefix + "bottleneck.decoder.weight", model.Width, model.CodeWidth) : default;
        (Weight anchor, Weight projection) = receives && model.Boundary == BoundaryKind.Anchored ? TakeAnchor(model, prefix) : default;
        return new BlockWeights(attentionNorm, queryKeyValue, attentionOutput, feedForwardNorm, gateUp, down, encoder, decoder, anchor, projection);
    }

    (Weight Anchor, Weight Projection) TakeAnchor(ModelConfig model, string prefix)
    {
        if (model.AnchorRank == 0)
        {
            return (Take(ParameterKind.Anchor, prefix + "bottleneck.anchor.weight", model.Vocabulary, model.Width), default);
        }

        // a sum of r products of two factors has deviation sqrt(r)*s*s: this s gives the product the usual 0.02
        double factorDeviation = Math.Sqrt(Deviation / Math.Sqrt(model.AnchorRank));
        return (
            Take(ParameterKind.Anchor, model.AnchorRank, factorDeviation, (prefix + "bottleneck.anchor.embedding.weight", model.Vocabulary)),
            Take(ParameterKind.Anchor, model.AnchorRank, factorDeviation, (prefix + "bottleneck.anchor.projection.weight", model.Width)));
    }

    Weight TakeNorm(string name, int width) => Take(ParameterKind.Norm, width, 0, (name, 1));

    Weight Take(ParameterKind kind, string name, int rows, int columns) => Take(kind, columns, Deviation, (name, rows));

    Weight Take(ParameterKind kind, int columns, double deviation, params ReadOnlySpan<(string Name, int Rows)> parts)
    {
        int rows = 0;
        foreach ((_, int partRows) in parts)
        {
            rows += partRows;
        }

        Tensor value = _values.Take(_type, rows, columns);
        Tensor low = _type == ElementType.BFloat16 ? _values.Take(ElementType.Low16, rows, columns) : default;
        Tensor gradient = _gradients?.Take(ElementType.Float32, rows, columns) ?? default;
        int start = 0;
        foreach ((string name, int partRows) in parts)
        {
            _all.Add(new Parameter(
                name, kind, deviation, value.RowRange(start, partRows), RowsOf(low, start, partRows), RowsOf(gradient, start, partRows)));
            start += partRows;
        }

        Weight weight = new(value, gradient);
        _storage.Add(weight);
        return weight;
    }

    static Tensor RowsOf(Tensor tensor, int start, int count) => tensor.Rows == 0 ? default : tensor.RowRange(start, count);
}
