// run.yaml and model files: flat YAML mappings. Every key is known or an error; the text goes through the same settings as
// the flags. A model file holds the fields of ModelConfig, with `preset:` as an optional start.
using System.Globalization;
using System.Text;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace OrionNative.Engine.Run;

static class YamlFiles
{
    static readonly IReadOnlyDictionary<string, Func<ModelConfig, string, ModelConfig>> _modelKeys =
        new SortedDictionary<string, Func<ModelConfig, string, ModelConfig>>(StringComparer.Ordinal)
        {
            ["vocabulary"] = (c, v) => c with { Vocabulary = Whole("vocabulary", v) },
            ["width"] = (c, v) => c with { Width = Whole("width", v) },
            ["layers"] = (c, v) => c with { Layers = Whole("layers", v) },
            ["query-heads"] = (c, v) => c with { QueryHeads = Whole("query-heads", v) },
            ["kv-heads"] = (c, v) => c with { KeyValueHeads = Whole("kv-heads", v) },
            ["head-width"] = (c, v) => c with { HeadWidth = Whole("head-width", v) },
            ["feed-forward"] = (c, v) => c with { FeedForward = Whole("feed-forward", v) },
            ["context"] = (c, v) => c with { Context = Whole("context", v) },
            ["rotary-base"] = (c, v) => c with { RotaryBase = Real("rotary-base", v) },
            ["norm-epsilon"] = (c, v) => c with { NormEpsilon = (float)Real("norm-epsilon", v) },
        };

    /// <summary>Applies the keys of run.yaml text to a configuration. source names the file in errors.</summary>
    public static RunConfig ReadRun(string text, string source, RunConfig start)
    {
        RunConfig config = start;
        foreach ((string key, string value) in Mapping(text, source))
        {
            config = InFile(source, () => RunSettings.With(config, key, value));
        }

        return config;
    }

    /// <summary>The complete resolved configuration as YAML.</summary>
    public static string WriteRun(RunConfig config)
    {
        StringBuilder yaml = new("# the resolved configuration of this run; `orion-engine train --config run.yaml` reads it back\n");
        foreach (Setting setting in RunSettings.All)
        {
            yaml.Append(setting.Name).Append(": ").Append(Scalar(setting.Get(config))).Append('\n');
        }

        return yaml.ToString();
    }

    /// <summary>A model from YAML text.</summary>
    public static ModelConfig ReadModel(string text, string source)
    {
        (string Key, string Value)[] pairs = [.. Mapping(text, source)];
        ModelConfig config = new();
        bool headWidthGiven = false;
        foreach ((string key, string value) in pairs.OrderByDescending(pair => pair.Key == "preset"))
        {
            headWidthGiven |= key is "head-width" or "preset";
            config = InFile(source, () =>
                key == "preset" ? ModelPresets.Get(value)
                : _modelKeys.TryGetValue(key, out Func<ModelConfig, string, ModelConfig>? set) ? set(config, value)
                : throw new ConfigurationException($"unknown key '{key}'{NearestName.Hint(key, [.. _modelKeys.Keys, "preset"])}"));
        }

        if (!headWidthGiven && config.QueryHeads > 0)
        {
            if (config.Width % config.QueryHeads != 0)
            {
                throw new ConfigurationException($"{source}: query-heads {config.QueryHeads} do not divide the width {config.Width}; choose heads that do, or give head-width");
            }

            config = config with { HeadWidth = config.Width / config.QueryHeads };
        }

        return InFile(source, config.Validated);
    }

    /// <summary>A model as YAML text that <see cref="ReadModel"/> reads back.</summary>
    public static string WriteModel(ModelConfig c) => string.Create(CultureInfo.InvariantCulture, $"""
        vocabulary: {c.Vocabulary}
        width: {c.Width}
        layers: {c.Layers}
        query-heads: {c.QueryHeads}
        kv-heads: {c.KeyValueHeads}
        head-width: {c.HeadWidth}
        feed-forward: {c.FeedForward}
        context: {c.Context}
        rotary-base: {c.RotaryBase:R}
        norm-epsilon: {c.NormEpsilon:R}

        """);

    static IEnumerable<(string Key, string Value)> Mapping(string text, string source)
    {
        YamlStream stream = [];
        try
        {
            stream.Load(new StringReader(text));
        }
        catch (YamlException error)
        {
            throw new ConfigurationException($"{source}, line {error.Start.Line}: {error.Message}", error);
        }

        if (stream.Documents.Count == 0)
        {
            yield break;
        }

        if (stream.Documents[0].RootNode is not YamlMappingNode mapping)
        {
            throw new ConfigurationException($"{source} is not a list of `key: value` lines");
        }

        foreach ((YamlNode key, YamlNode value) in mapping.Children)
        {
            yield return value switch
            {
                YamlScalarNode scalar => (key.ToString(), scalar.Value ?? ""),
                YamlSequenceNode list => (key.ToString(), string.Join(",", list.Children.Select(item => item.ToString()))),
                _ => throw new ConfigurationException($"{source}, line {value.Start.Line}: '{key}' holds a nested mapping; every key is one value or a list"),
            };
        }
    }

    static T InFile<T>(string source, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (ConfigurationException error)
        {
            throw new ConfigurationException($"{source}: {error.Message}", error);
        }
    }

    static string Scalar(string value) =>
        value.Length > 0 && value.All(c => char.IsLetterOrDigit(c) || c is '-' or '.' or '_' or '/' or '+') ? value
            : '"' + value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + '"';

    static int Whole(string name, string text) =>
        int.TryParse(text.Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value)
            ? value
            : throw new ConfigurationException($"{name} '{text}' is not a whole number");

    static double Real(string name, string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && double.IsFinite(value)
            ? value
            : throw new ConfigurationException($"{name} '{text}' is not a number");
}
