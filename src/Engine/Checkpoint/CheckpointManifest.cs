// manifest.json: what a checkpoint holds and how to go on from it. Every other file is listed with its size and SHA-256;
// manifest.sha256 beside it holds the manifest's own, in the form that `sha256sum -c` reads.
// The data position follows from the step alone: SampleOrder makes every sample of step s from (seed, s, index). The hash of
// the data tells whether they are still the same samples.
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace OrionNative.Engine.Checkpoint;

/// <summary>What the trainer knows about the moment of the save.</summary>
sealed record CheckpointState
{
    /// <summary>Inner steps done; training goes on with this step's number (from 0).</summary>
    public required long Step { get; init; }

    /// <summary>Tokens predicted so far.</summary>
    public long Tokens { get; init; }

    /// <summary>Samples drawn so far: the next step begins with the one of this number.</summary>
    public long DataPosition { get; init; }

    /// <summary>SHA-256 of the training data's token shards; null in checkpoints made before it was kept.</summary>
    public string? DataHash { get; init; }

    /// <summary>Seeds by use, such as <c>run</c>, <c>data</c>, <c>init</c>.</summary>
    public required IReadOnlyDictionary<string, ulong> Seeds { get; init; }

    /// <summary>SHA-256 of the tokenizer's canonical form.</summary>
    public required string TokenizerHash { get; init; }

    /// <summary>Such as <c>adamw</c> or <c>muon</c>.</summary>
    public required string Optimizer { get; init; }

    /// <summary>The model's shape, as ModelConfigJson writes it; eval, generate and export rebuild the model from it.</summary>
    public required JsonObject Model { get; init; }

    /// <summary>How the run was laid out (stages, replicas) and how codes travelled (wire); resuming may choose another.</summary>
    public JsonObject? Layout { get; init; }
}

/// <summary>A file of a checkpoint.</summary>
/// <param name="Name">Its name in the checkpoint's folder.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="Sha256">Of its content, lower-case hexadecimal.</param>
sealed record CheckpointFile(string Name, long Bytes, string Sha256);

/// <summary>manifest.json.</summary>
/// <param name="Version">Of this format.</param>
/// <param name="Serial">Grows with every checkpoint of the run, also when a run goes back and repeats steps.</param>
/// <param name="State">What the trainer knows.</param>
/// <param name="Files">All other files.</param>
sealed record CheckpointManifest(int Version, long Serial, CheckpointState State, IReadOnlyList<CheckpointFile> Files)
{
    public const string FileName = "manifest.json";

    public const string HashFileName = "manifest.sha256";

    public const int CurrentVersion = 1;
}

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, NewLine = "\n", RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(CheckpointManifest))]
sealed partial class CheckpointJson : JsonSerializerContext;
