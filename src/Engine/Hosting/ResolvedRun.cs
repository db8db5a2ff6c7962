// From what the user wrote to what will run: the tokenizer is loaded, its vocabulary fixes the model's, defaults that
// depend on the model are filled in, and every impossible value is refused before anything is built or written.
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

    /// <exception cref="ConfigurationException">Names the first value that cannot be.</exception>
    public static ResolvedRun From(RunConfig config)
    {
        ITokenizer tokenizer = LoadTokenizer(config.Tokenizer);
        ModelConfig model = LoadModel(config.Model) with { Vocabulary = tokenizer.VocabularySize };
        model = model with { Boundary = config.Boundary, Boundaries = ModelConfig.EvenBoundaries(model.Layers, config.Stages) };
        if (model.HasCodes)
        {
            model = model with
            {
                CodeWidth = config.CodeWidth > 0 ? config.CodeWidth : Math.Max(1, model.Width / CompressionDefault),
                AnchorRank = config.Boundary == BoundaryKind.Anchored ? config.AnchorRank : 0,
            };
        }

        model.Validated();
        int sequence = config.Sequence > 0 ? config.Sequence : Math.Min(SequenceDefault, model.Context);
        if (sequence > model.Context)
        {
            throw new ConfigurationException($"sequence {sequence} is longer than the context {model.Context} of model '{config.Model}'; choose at most {model.Context}");
        }

        if (config.SyncEvery != 1)
        {
            throw new ConfigurationException($"sync-every {config.SyncEvery} is not built yet: replicas synchronise at every step; leave it at 1");
        }

        if (config.Data.Count == 0)
        {
            throw new ConfigurationException("no data: name text files, folders or token shards with --data");
        }

        return new ResolvedRun(
            config with { Sequence = sequence, CodeWidth = model.HasCodes ? model.CodeWidth : 0, Warmup = config.WarmupSteps }, model, tokenizer);
    }

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
