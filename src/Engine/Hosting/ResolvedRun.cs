// From what the user wrote to what will run: the tokenizer is loaded, its vocabulary fixes the model's, defaults that
// depend on the model are filled in, names of files become absolute, and every impossible value is refused before anything
// is built or written. A run that goes on keeps the model that it has: its boundaries stay where they are, whatever
// number of stages holds them now.
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Data;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting;

/// <summary>A run's configuration with nothing left open.</summary>
/// <param name="Config">Every default filled in.</param>
/// <param name="Model">The model that will be trained, boundaries included.</param>
/// <param name="Tokenizer">The tokenizer that Config names.</param>
sealed record ResolvedRun(RunConfig Config, ModelConfig Model, ITokenizer Tokenizer)
{
    /// <summary>Tokens of a sequence where nobody says otherwise and the context allows it.</summary>
    public const int SequenceDefault = 256;

    const int CompressionDefault = 64;

    /// <summary>A new run.</summary>
    /// <exception cref="ConfigurationException">Names the first value that cannot be.</exception>
    public static ResolvedRun From(RunConfig config) => From(config, trained: null, "");

    /// <summary>The run of a directory, to go on: its model is that of the newest checkpoint, if there is one yet.</summary>
    /// <exception cref="ConfigurationException">A value cannot be, or would make another model of it.</exception>
    /// <exception cref="InvalidDataException">The newest checkpoint is not whole.</exception>
    public static ResolvedRun Resumed(string directory, RunConfig config) =>
        From(config, CheckpointReader.NewestState(directory) is { } state ? ModelConfigJson.Read(state.Model) : null, directory);

    static ResolvedRun From(RunConfig config, ModelConfig? trained, string directory)
    {
        ResolvedRun run = Resolve(WithAbsoluteNames(config), LoadTokenizer(config.Tokenizer), trained, directory, vocabulary: null);
        return config.Data.Count > 0 ? run : throw new ConfigurationException("no data: name text files, folders or token shards with --data");
    }

    /// <summary>A run that is only thought of: it needs no data, and may have the vocabulary of a tokenizer that is not made yet.</summary>
    /// <exception cref="ConfigurationException">Names the first value that cannot be.</exception>
    public static ResolvedRun WithoutData(RunConfig config, int? vocabulary = null) =>
        Resolve(WithAbsoluteNames(config), LoadTokenizer(config.Tokenizer), trained: null, "", vocabulary);

    /// <summary>Another run with the same tokenizer and vocabulary, to try something.</summary>
    /// <exception cref="ConfigurationException">Names the first value that cannot be.</exception>
    public ResolvedRun Changed(RunConfig config) => Resolve(config, Tokenizer, trained: null, "", Model.Vocabulary);

    static ResolvedRun Resolve(RunConfig config, ITokenizer tokenizer, ModelConfig? trained, string directory, int? vocabulary)
    {
        ModelConfig model = LoadModel(config.Model) with { Vocabulary = vocabulary ?? tokenizer.VocabularySize };
        if (trained is { HasCodes: false })
        {
            // trained in one piece: whatever cuts it now sends full activations
            config = config with { Boundary = BoundaryKind.None };
        }

        int sequence = config.Sequence > 0 ? config.Sequence : Math.Min(SequenceDefault, model.Context);
        model = model with
        {
            Boundary = config.Boundary,
            Boundaries = trained is { HasCodes: true } ? BoundariesOf(trained, config.Stages, directory) : EvenCut.Boundaries(model, config.Stages, sequence),
        };
        if (model.HasCodes)
        {
            model = model with
            {
                CodeWidth = config.CodeWidth > 0 ? config.CodeWidth : Math.Max(1, model.Width / CompressionDefault),
                AnchorRank = config.Boundary == BoundaryKind.Anchored ? config.AnchorRank : 0,
            };
        }

        model.Validated();
        RequireSame(trained, model, directory);
        if (sequence > model.Context)
        {
            throw new ConfigurationException($"sequence {sequence} is longer than the context {model.Context} of model '{config.Model}'; choose at most {model.Context}");
        }

        if (config.SyncEvery != 1)
        {
            throw new ConfigurationException($"sync-every {config.SyncEvery} is not built yet: replicas synchronise at every step; leave it at 1");
        }

        return new ResolvedRun(
            config with { Sequence = sequence, CodeWidth = model.HasCodes ? model.CodeWidth : 0, Warmup = config.WarmupSteps }, model, tokenizer);
    }

    static IReadOnlyList<int> BoundariesOf(ModelConfig trained, int stages, string directory) => stages <= trained.Boundaries.Count + 1 ? trained.Boundaries
        : throw new ConfigurationException($"stages {stages}: the model of the run in {directory} has its codes before block {string.Join(", ", trained.Boundaries)} and can be cut there only; choose at most {trained.Boundaries.Count + 1} stages");

    // What a checkpoint's tensors do not show (a code dropped, another epsilon) would go on as another model, and nobody would know.
    static void RequireSame(ModelConfig? trained, ModelConfig model, string directory)
    {
        if (trained is null)
        {
            return;
        }

        JsonObject asked = ModelConfigJson.Write(model);
        JsonObject found = ModelConfigJson.Write(trained.HasCodes ? trained : trained with { Boundary = model.Boundary, Boundaries = model.Boundaries, CodeWidth = model.CodeWidth, AnchorRank = model.AnchorRank });
        foreach ((string key, JsonNode? value) in asked)
        {
            // the tokenizer's hash tells vocabularies apart, with a sentence of its own
            if (key != "vocabulary" && value?.ToJsonString() != found[key]?.ToJsonString())
            {
                throw new ConfigurationException($"the run in {directory} trains a model with {key} {found[key]?.ToJsonString()}, and is asked for {value?.ToJsonString()}; a run goes on with the model it has: leave out what changes it");
            }
        }
    }

    /// <summary>Names of files that mean the same from any folder.</summary>
    static RunConfig WithAbsoluteNames(RunConfig config) => config with
    {
        Data = [.. config.Data.Select(Path.GetFullPath)],
        EvalData = [.. config.EvalData.Select(Path.GetFullPath)],
        Tokenizer = config.Tokenizer == "byte" ? "byte" : Path.GetFullPath(config.Tokenizer),
        Model = File.Exists(config.Model) ? Path.GetFullPath(config.Model) : config.Model,
    };

    /// <summary>"byte", or the path of a tokenizer.json.</summary>
    public static ITokenizer LoadTokenizer(string name)
    {
        if (name == "byte")
        {
            return ByteTokenizer.Instance;
        }

        return File.Exists(name)
            ? TokenizerJson.Load(name)
            : throw new ConfigurationException($"tokenizer '{name}' is neither 'byte' nor a file; train one with `orion-engine tokenizer train`");
    }

    /// <summary>A preset, or the path of a model file in YAML.</summary>
    public static ModelConfig LoadModel(string name) =>
        File.Exists(name) ? YamlFiles.ReadModel(File.ReadAllText(name), name) : ModelPresets.Get(name);
}
