// The shape of a model: a Llama-style decoder (RMSNorm, rotary embedding, grouped-query attention, SwiGLU, no biases,
// untied head), and where it is cut. A cut with a boundary kind other than None is part of the model: it adds weights and
// is trained with it. Cuts of kind None may be placed anywhere and change nothing but what a narrow wire rounds there.
namespace OrionNative.Engine.Run;

/// <summary>What crosses a boundary between two stages.</summary>
public enum BoundaryKind
{
    /// <summary>The whole activation, width C: ratio 1.</summary>
    None,

    /// <summary>ResBM, arXiv:2604.11947: a code of Z values a token.</summary>
    Resbm,

    /// <summary>ResBM's sender; the receiver restarts its residual stream from its own embedding of the token ids.</summary>
    Anchored,
}

/// <summary>Everything that fixes the model's tensors and their shapes.</summary>
public sealed record ModelConfig
{
    /// <summary>V.</summary>
    public int Vocabulary { get; init; } = 256;

    /// <summary>C, the width of the residual stream.</summary>
    public int Width { get; init; } = 128;

    /// <summary>L, transformer blocks.</summary>
    public int Layers { get; init; } = 4;

    /// <summary>H.</summary>
    public int QueryHeads { get; init; } = 4;

    /// <summary>G; divides H.</summary>
    public int KeyValueHeads { get; init; } = 4;

    /// <summary>D; even. C/H unless given.</summary>
    public int HeadWidth { get; init; } = 32;

    /// <summary>F.</summary>
    public int FeedForward { get; init; } = 352;

    /// <summary>The longest sequence.</summary>
    public int Context { get; init; } = 512;

    /// <summary>Base of the rotary angles.</summary>
    public double RotaryBase { get; init; } = 500_000;

    /// <summary>Epsilon of RMSNorm.</summary>
    public float NormEpsilon { get; init; } = 1e-5f;

    /// <summary>Kind of every boundary.</summary>
    public BoundaryKind Boundary { get; init; } = BoundaryKind.None;

    /// <summary>Z, used when <see cref="Boundary"/> is not None.</summary>
    public int CodeWidth { get; init; }

    /// <summary>Rank of a factorised anchor; 0 for a full [V, C] anchor.</summary>
    public int AnchorRank { get; init; }

    /// <summary>The index of each boundary's first receiving block, ascending, each in 1..L-1. Empty: one piece.</summary>
    public IReadOnlyList<int> Boundaries { get; init; } = [];

    /// <summary>True when a code narrower than the residual stream crosses the boundaries.</summary>
    public bool HasCodes => Boundary != BoundaryKind.None && Boundaries.Count > 0;

    /// <summary>Values a token that cross a boundary: Z, or C at ratio 1.</summary>
    public int BoundaryWidth => Boundary == BoundaryKind.None ? Width : CodeWidth;

    /// <summary>Parameters of one block without bottleneck weights.</summary>
    public long BlockParameters =>
        (long)Width * HeadWidth * ((2 * QueryHeads) + (2 * KeyValueHeads)) + (3L * Width * FeedForward) + (2L * Width);

    /// <summary>All parameters, bottleneck weights included.</summary>
    public long Parameters =>
        (Layers * BlockParameters) + (2L * Vocabulary * Width) + Width + (HasCodes ? Boundaries.Count * BoundaryParameters : 0);

    /// <summary>Parameters of one boundary: W4, Wd and the anchor.</summary>
    public long BoundaryParameters => Boundary switch
    {
        BoundaryKind.Resbm => 2L * Width * CodeWidth,
        BoundaryKind.Anchored when AnchorRank == 0 => (2L * Width * CodeWidth) + ((long)Vocabulary * Width),
        BoundaryKind.Anchored => (2L * Width * CodeWidth) + ((long)AnchorRank * (Vocabulary + Width)),
        _ => 0,
    };

    /// <summary>N_matmul: the weights that every token is multiplied with, so without norms and embedding tables.</summary>
    public long MatmulParameters => MatmulParametersOf(0, Layers);

    /// <summary>The share of N_matmul of the blocks [first, end): with W4 where one sends a code, Wd (and the anchor's second factor) where
    /// one receives it, and the head behind the last.</summary>
    public long MatmulParametersOf(int first, int end)
    {
        long codes = 0;
        foreach (int boundary in HasCodes ? Boundaries : [])
        {
            codes += boundary > first && boundary <= end ? (long)Width * CodeWidth : 0;
            codes += boundary >= first && boundary < end ? (long)Width * (CodeWidth + AnchorRank) : 0;
        }

        return ((end - first) * (BlockParameters - (2L * Width))) + (end == Layers ? (long)Vocabulary * Width : 0) + codes;
    }

    /// <summary>Model FLOP of a training step for one token: 6*N_matmul + 6*L*H*D*T (causal attention, no recomputation).</summary>
    public double TrainingFlopPerToken(int sequence) => TrainingFlopPerToken(0, Layers, sequence);

    /// <summary>The share of <see cref="TrainingFlopPerToken(int)"/> of the blocks [first, end).</summary>
    public double TrainingFlopPerToken(int first, int end, int sequence) =>
        (6.0 * MatmulParametersOf(first, end)) + (6.0 * (end - first) * QueryHeads * HeadWidth * sequence);

    /// <summary>Throws <see cref="ConfigurationException"/> on the first impossible value, naming it.</summary>
    public ModelConfig Validated()
    {
        Positive(Vocabulary, "vocabulary");
        Positive(Width, "width");
        Positive(Layers, "layers");
        Positive(QueryHeads, "query-heads");
        Positive(KeyValueHeads, "kv-heads");
        Positive(HeadWidth, "head-width");
        Positive(FeedForward, "feed-forward");
        Positive(Context, "context");
        Require(QueryHeads % KeyValueHeads == 0, $"query-heads {QueryHeads} is not a multiple of kv-heads {KeyValueHeads}; choose kv-heads that divides it");
        Require(HeadWidth % 2 == 0, $"head-width {HeadWidth} is odd; rotary embedding turns pairs, so choose an even one");
        Require(RotaryBase > 1, $"rotary-base {RotaryBase} must be greater than 1");
        Require(NormEpsilon > 0, $"norm-epsilon {NormEpsilon} must be positive");
        for (int i = 0; i < Boundaries.Count; i++)
        {
            int previous = i == 0 ? 0 : Boundaries[i - 1];
            Require(Boundaries[i] > previous && Boundaries[i] < Layers, $"boundary {Boundaries[i]} of [{string.Join(", ", Boundaries)}] does not lie between {previous + 1} and {Layers - 1}; boundaries ascend, and each stage keeps at least one block");
        }

        if (Boundary != BoundaryKind.None && Boundaries.Count > 0)
        {
            Require(CodeWidth > 0 && CodeWidth <= Width, $"code-width {CodeWidth} does not lie between 1 and the width {Width}");
            Require(AnchorRank >= 0 && AnchorRank <= Width, $"anchor-rank {AnchorRank} does not lie between 0 (a full anchor) and the width {Width}");
        }

        return this;
    }

    static void Positive(long value, string name) => Require(value > 0, $"{name} is {value}; it must be at least 1");

    static void Require(bool holds, string message)
    {
        if (!holds)
        {
            throw new ConfigurationException(message);
        }
    }
}
