// One training job, resolved: what run.yaml holds and every flag of `train` sets. Each setting is declared once, in
// RunSettings; this record only carries the values.
using OrionNative.Kernels;

namespace OrionNative.Engine.Run;

/// <summary>Which rule moves the hidden matrices; embedding, head, norms and anchors always use AdamW.</summary>
public enum OptimizerKind
{
    /// <summary>AdamW everywhere.</summary>
    AdamW,

    /// <summary>Muon on hidden matrices.</summary>
    Muon,
}

/// <summary>How the learning rate goes after the warm-up.</summary>
public enum ScheduleKind
{
    /// <summary>Stays.</summary>
    Constant,

    /// <summary>Half a cosine down to the floor.</summary>
    Cosine,

    /// <summary>Warm-up, stable, then a linear decay over the last fifth of the steps.</summary>
    Wsd,
}

/// <summary>What lies in the host's memory instead of the device's.</summary>
public enum OffloadKind
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Moments and momentum: they come and go once a step.</summary>
    Optimizer,

    /// <summary>What blocks keep between forward and backward: it leaves while the next block computes and comes back a block ahead.</summary>
    Activations,

    /// <summary>Both.</summary>
    All,
}

/// <summary>What backward recomputes instead of keeping.</summary>
public enum RecomputeKind
{
    /// <summary>Nothing: most memory, least work.</summary>
    None,

    /// <summary>Norm outputs and the SwiGLU product: cheap, memory-bound work.</summary>
    Norm,

    /// <summary>The whole block from its input: least memory, about a third more work.</summary>
    Block,
}

/// <summary>What carries messages between the peers of a run.</summary>
public enum PeerTransport
{
    /// <summary>QUIC over UDP.</summary>
    Quic,

    /// <summary>TLS 1.3 over TCP, for networks that stop UDP.</summary>
    Tcp,
}

/// <summary>The resolved configuration of a run.</summary>
public sealed record RunConfig
{
    /// <summary>Preset name, or the path of a model file.</summary>
    public string Model { get; init; } = "tiny";

    /// <summary>Files, folders or globs of text, or token shards.</summary>
    public IReadOnlyList<string> Data { get; init; } = [];

    /// <summary>Text that is only evaluated on.</summary>
    public IReadOnlyList<string> EvalData { get; init; } = [];

    /// <summary>Field of a .jsonl line that holds the text.</summary>
    public string Field { get; init; } = "text";

    /// <summary>"byte", or the path of a tokenizer.json.</summary>
    public string Tokenizer { get; init; } = "byte";

    /// <summary>Stages that the model is cut into.</summary>
    public int Stages { get; init; } = 1;

    /// <summary>Peers for each stage.</summary>
    public int Replicas { get; init; } = 1;

    /// <summary>What crosses a boundary.</summary>
    public BoundaryKind Boundary { get; init; } = BoundaryKind.Anchored;

    /// <summary>Z; 0 takes width/64, at least 1.</summary>
    public int CodeWidth { get; init; }

    /// <summary>Rank of a factorised anchor; 0 for a full one.</summary>
    public int AnchorRank { get; init; }

    /// <summary>How a code travels.</summary>
    public WireFormat Wire { get; init; } = WireFormat.BFloat16;

    /// <summary>What carries it; one for all peers of the run, and nothing changes it while the run lasts.</summary>
    public PeerTransport Transport { get; init; } = PeerTransport.Quic;

    /// <summary>H, inner steps per synchronization of the replicas.</summary>
    public int SyncEvery { get; init; } = 1;

    /// <summary>Rule for the hidden matrices.</summary>
    public OptimizerKind Optimizer { get; init; } = OptimizerKind.AdamW;

    /// <summary>Highest learning rate.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Lowest learning rate, as a fraction of the highest.</summary>
    public double LearningRateFloor { get; init; } = 0.1;

    /// <summary>Schedule after the warm-up.</summary>
    public ScheduleKind Schedule { get; init; } = ScheduleKind.Cosine;

    /// <summary>Steps of linear warm-up; -1 takes a tenth of the steps, at most 2000.</summary>
    public int Warmup { get; init; } = -1;

    /// <summary>Decoupled weight decay; never on norms.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>First-moment decay of AdamW.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Second-moment decay of AdamW.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Momentum of Muon.</summary>
    public double Momentum { get; init; } = 0.95;

    /// <summary>Largest global gradient norm; 0 never clips.</summary>
    public double Clip { get; init; } = 1;

    /// <summary>Inner steps.</summary>
    public int Steps { get; init; } = 200;

    /// <summary>M, microbatches of an inner step.</summary>
    public int Microbatches { get; init; } = 1;

    /// <summary>b, sequences of a microbatch.</summary>
    public int MicrobatchSize { get; init; } = 8;

    /// <summary>T, tokens of a sequence; 0 takes the smaller of 256 and the model's context.</summary>
    public int Sequence { get; init; }

    /// <summary>Seed of the weights and of the order of the samples.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Where to compute.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>CPU threads; 0 takes every processor.</summary>
    public int Threads { get; init; }

    /// <summary>What lies in page-locked host memory.</summary>
    public OffloadKind Offload { get; init; } = OffloadKind.None;

    /// <summary>True when optimizer state lies in host memory.</summary>
    public bool OffloadsOptimizer => Offload is OffloadKind.Optimizer or OffloadKind.All;

    /// <summary>True when kept activations lie in host memory.</summary>
    public bool OffloadsActivations => Offload is OffloadKind.Activations or OffloadKind.All;

    /// <summary>What backward recomputes.</summary>
    public RecomputeKind Recompute { get; init; } = RecomputeKind.None;

    /// <summary>The run directory; empty takes runs/ and the next free number.</summary>
    public string Out { get; init; } = "";

    /// <summary>Steps between checkpoints; 0 writes only the last.</summary>
    public int CheckpointEvery { get; init; } = 100;

    /// <summary>Checkpoints kept.</summary>
    public int Keep { get; init; } = 3;

    /// <summary>Steps between evaluations; 0 evaluates at the end only.</summary>
    public int EvalEvery { get; init; }

    /// <summary>Warm-up steps with the default resolved.</summary>
    public int WarmupSteps => Warmup >= 0 ? Warmup : Math.Min(2000, Steps / 10);

    /// <summary>Tokens of an inner step.</summary>
    public long TokensPerStep => (long)Microbatches * MicrobatchSize * Sequence;
}
