// The flags of a run: one for every setting, with the same name and help, over the keys of --config.
using System.CommandLine;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

/// <summary>Adds the flags to a command and reads them back.</summary>
sealed class RunOptions
{
    readonly List<(Setting Setting, Option<string> Option)> _options = [];
    readonly Option<string> _config = new("--config") { Description = "run.yaml with any of the keys below; flags win over it", HelpName = "file" };

    public RunOptions(Command command)
    {
        command.Add(_config);
        RunConfig defaults = new();
        foreach (Setting setting in RunSettings.All)
        {
            string normally = setting.Get(defaults);
            Option<string> option = new("--" + setting.Name)
            {
                Description = setting.Help + (setting.Values.Count > 0 ? $" ({string.Join(", ", setting.Values)})" : "") + (normally.Length > 0 ? $" [default: {normally}]" : ""),
                HelpName = setting.Values.Count > 0 ? "word" : "value",
            };
            _options.Add((setting, option));
            command.Add(option);
        }
    }

    /// <summary>The configuration: start, then the file, then the flags.</summary>
    public RunConfig Read(ParseResult parsed, RunConfig start)
    {
        RunConfig config = start;
        if (parsed.GetValue(_config) is { } file)
        {
            if (!File.Exists(file))
            {
                throw new ConfigurationException($"config '{file}' does not exist");
            }

            config = YamlFiles.ReadRun(File.ReadAllText(file), file, config);
        }

        foreach ((Setting setting, Option<string> option) in _options)
        {
            if (parsed.GetValue(option) is { } text)
            {
                config = setting.Set(config, text);
            }
        }

        return config;
    }
}
