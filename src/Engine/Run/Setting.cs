// One setting of a run: its name (the key in run.yaml and, with two dashes, the flag), what it means, and how its text
// becomes a value. Declared once; the command line, the file and the printed configuration all come from it.
using System.Globalization;

namespace OrionNative.Engine.Run;

/// <summary>A named, documented setting of <see cref="RunConfig"/>.</summary>
/// <param name="Name">Key and flag, words joined by dashes.</param>
/// <param name="Help">One sentence with unit and default.</param>
/// <param name="Values">Allowed words, or empty.</param>
/// <param name="Set">Returns the configuration with this setting parsed from text.</param>
/// <param name="Get">The value as text that <paramref name="Set"/> reads back.</param>
sealed record Setting(
    string Name, string Help, IReadOnlyList<string> Values, Func<RunConfig, string, RunConfig> Set, Func<RunConfig, string> Get)
{
    public static Setting Text(string name, string help, Func<RunConfig, string> get, Func<RunConfig, string, RunConfig> set) =>
        new(name, help, [], set, get);

    public static Setting List(
        string name, string help, Func<RunConfig, IReadOnlyList<string>> get, Func<RunConfig, IReadOnlyList<string>, RunConfig> set) =>
        new(name, help, [], (config, text) => set(config, text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)),
            config => string.Join(", ", get(config)));

    public static Setting Integer(
        string name, string help, long least, Func<RunConfig, long> get, Func<RunConfig, long, RunConfig> set, long most = int.MaxValue) =>
        new(name, help, [], (config, text) => set(config, ParseInteger(name, text, least, most)),
            config => get(config).ToString(CultureInfo.InvariantCulture));

    public static Setting Number(
        string name, string help, double least, double most, Func<RunConfig, double> get, Func<RunConfig, double, RunConfig> set) =>
        new(name, help, [], (config, text) => set(config, ParseNumber(name, text, least, most)),
            config => get(config).ToString("R", CultureInfo.InvariantCulture));

    public static Setting Choice<T>(string name, string help, Func<RunConfig, T> get, Func<RunConfig, T, RunConfig> set,
        params (string Word, T Value)[] words) where T : struct, Enum =>
        new(name, help, [.. words.Select(word => word.Word)],
            (config, text) =>
            {
                foreach ((string word, T value) in words)
                {
                    if (string.Equals(word, text, StringComparison.OrdinalIgnoreCase))
                    {
                        return set(config, value);
                    }
                }

                string[] known = [.. words.Select(word => word.Word)];
                throw new ConfigurationException($"{name} '{text}' is unknown; it can be {string.Join(", ", known)}{NearestName.Hint(text, known)}");
            },
            config => words.First(word => EqualityComparer<T>.Default.Equals(word.Value, get(config))).Word);

    static long ParseInteger(string name, string text, long least, long most)
    {
        if (!long.TryParse(text.Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value))
        {
            throw new ConfigurationException($"{name} '{text}' is not a whole number");
        }

        return value >= least && value <= most
            ? value
            : throw new ConfigurationException($"{name} {value} does not lie between {least} and {most}");
    }

    static double ParseNumber(string name, string text, double least, double most)
    {
        if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) || !double.IsFinite(value))
        {
            throw new ConfigurationException($"{name} '{text}' is not a number");
        }

        return value >= least && value <= most
            ? value
            : throw new ConfigurationException($"{name} {value} does not lie between {least} and {most}");
    }
}
