// The weights that a model consists of, as files know them: Hugging Face's names and shapes, layers by their index in the
// whole model. Linear weights are [out, in]. A cut without a code adds nothing.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Checkpoint;

static class ModelTensors
{
    /// <summary>Every weight with its shape: embedding, each layer, final norm, head.</summary>
    public static IEnumerable<(string Name, long[] Shape)> Of(ModelConfig model)
    {
        yield return ("model.embed_tokens.weight", [model.Vocabulary, model.Width]);
        for (int layer = 0; layer < model.Layers; layer++)
        {
            foreach ((string name, long[] shape) in OfLayer(model, layer))
                yield return ($"model.layers.{layer}.{name}", shape);
        }
        yield return ("model.norm.weight", [model.Width]);
        yield return ("lm_head.weight", [model.Vocabulary, model.Width]);
    }

    static IEnumerable<(string Name, long[] Shape)> OfLayer(ModelConfig model, int layer)
    {
        long queries = (long)model.QueryHeads * model.HeadWidth, keys = (long)model.KeyValueHeads * model.HeadWidth;
        yield return ("input_layernorm.weight", [model.Width]);
        yield return ("self_attn.q_proj.weight", [queries, model.Width]);
        yield return ("self_attn.k_proj.weight", [keys, model.Width]);
        yield return ("self_attn.v_proj.weight", [keys, model.Width]);
        yield return ("self_attn.o_proj.weight", [model.Width, queries]);
        yield return ("post_attention_layernorm.weight", [model.Width]);
        yield return ("mlp.gate_proj.weight", [model.FeedForward, model.Width]);
        yield return ("mlp.up_proj.weight", [model.FeedForward, model.Width]);
        yield return ("mlp.down_proj.weight", [model.Width, model.FeedForward]);
        if (model.HasCodes && model.Boundaries.Contains(layer + 1))
            yield return ("bottleneck.encoder.weight", [model.CodeWidth, model.Width]);
        if (!model.HasCodes || !model.Boundaries.Contains(layer))
            yield break;
        yield return ("bottleneck.decoder.weight", [model.Width, model.CodeWidth]);
        if (model.Boundary == BoundaryKind.Anchored && model.AnchorRank == 0)
            yield return ("bottleneck.anchor.weight", [model.Vocabulary, model.Width]);
        if (model.Boundary == BoundaryKind.Anchored && model.AnchorRank > 0)
        {
            yield return ("bottleneck.anchor.embedding.weight", [model.Vocabulary, model.AnchorRank]);
            yield return ("bottleneck.anchor.projection.weight", [model.Width, model.AnchorRank]);
        }
    }
}
