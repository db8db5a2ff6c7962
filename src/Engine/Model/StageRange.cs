// A stage is a contiguous range of blocks; the first range has the embedding, the last has the final norm and the head.
// Invariant: the ranges of a cut cover every block exactly once, in order.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Model;

/// <summary>The blocks [FirstBlock, EndBlock) of a model with Layers blocks.</summary>
readonly record struct StageRange(int FirstBlock, int EndBlock, int Layers)
{
    /// <summary>True when the stage starts from token ids rather than from a code.</summary>
    public bool HasEmbedding => FirstBlock == 0;

    /// <summary>True when the stage ends in the loss rather than in a code.</summary>
    public bool HasHead => EndBlock == Layers;

    /// <summary>Blocks of the stage.</summary>
    public int BlockCount => EndBlock - FirstBlock;

    /// <summary>The whole model as one stage.</summary>
    public static StageRange Whole(ModelConfig model) => new(0, model.Layers, model.Layers);

    /// <summary>The stages of a model cut before each of the given blocks.</summary>
    /// <exception cref="ConfigurationException">A cut lies outside 1..L-1, is not above the one before, or falls where a
    /// model with codes has no boundary.</exception>
    public static StageRange[] Cut(ModelConfig model, IReadOnlyList<int> cuts)
    {
        StageRange[] stages = new StageRange[cuts.Count + 1];
        int first = 0;
        for (int i = 0; i <= cuts.Count; i++)
        {
            int end = i < cuts.Count ? cuts[i] : model.Layers;
            if (end <= first || end > model.Layers || (i < cuts.Count && end == model.Layers))
            {
                throw new ConfigurationException($"cut {end} of [{string.Join(", ", cuts)}] does not lie between {first + 1} and {model.Layers - 1}; cuts ascend, and each stage keeps at least one block");
            }

            if (i < cuts.Count && model.HasCodes && !model.Boundaries.Contains(end))
            {
                throw new ConfigurationException($"cut {end} is no boundary of this model; a model with {model.Boundary} codes can be cut at [{string.Join(", ", model.Boundaries)}] only");
            }

            stages[i] = new StageRange(first, end, model.Layers);
            first = end;
        }

        return stages;
    }

    /// <inheritdoc/>
    public override string ToString() =>
        $"{(HasEmbedding ? "embedding, " : "")}blocks {FirstBlock} to {EndBlock - 1}{(HasHead ? ", head" : "")}";
}
