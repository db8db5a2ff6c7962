// Single-token mutations of the kernels' sources: what a slip of the hand makes. Which ones, is a function of the sources and a seed.
//   a < b -> a <= b    a + b -> a - b    7 -> 8    [i] -> [(i) + 1]    min -> max    __syncthreads(); -> ;
// Comments, preprocessor lines and launch bounds stay as they are.
using System.Text.RegularExpressions;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

/// <summary>One changed token: where it stands, and what it becomes.</summary>
sealed record Mutant(string Source, int Position, string Before, string After)
{
    /// <summary>The line with the token as [before -> after].</summary>
    public string Shown(string text)
    {
        int start = text.LastIndexOf('\n', Position) + 1, after = Position + Before.Length;
        return $"{text[start..Position]}[{Before} -> {After}]{text[after..text.IndexOf('\n', after)]}".Trim();
    }

    public string Apply(string text) => string.Concat(text.AsSpan(0, Position), After, text.AsSpan(Position + Before.Length));
}

static partial class Mutants
{
    static readonly Dictionary<string, string> _swaps = new()
    {
        ["<"] = "<=",
        ["<="] = "<",
        [">"] = ">=",
        [">="] = ">",
        ["=="] = "!=",
        ["!="] = "==",
        ["&&"] = "||",
        ["||"] = "&&",
        ["+"] = "-",
        ["-"] = "+",
        ["*"] = "/",
        ["/"] = "*",
        ["%"] = "/",
        ["+="] = "-=",
        ["-="] = "+=",
        ["min"] = "max",
        ["max"] = "min",
        ["fminf"] = "fmaxf",
        ["fmaxf"] = "fminf",
        ["&"] = "|",
        ["|"] = "&",
        ["<<"] = ">>",
        [">>"] = "<<",
    };

    /// <summary>An endless sequence, the same for the same seed and sources.</summary>
    public static IEnumerable<Mutant> Draw(int seed)
    {
        Mutant[][] all = [.. KernelSources.Names.Select(source => Of(source).ToArray())];
        Random random = new(seed);
        while (true)
        {
            // first a source, so that the long ones do not take all
            Mutant[] some = all[random.Next(all.Length)];
            yield return some[random.Next(some.Length)];
        }
    }

    static IEnumerable<Mutant> Of(string source)
    {
        string text = KernelSources.Read(source);
        string code = Fixed().Replace(text, m => new string(' ', m.Length));
        foreach (Match m in Token().Matches(code))
        {
            if (m.Groups["wait"].Success)
            {
                yield return new(source, m.Index, m.Value, ";");
            }
            else if (m.Groups["swap"].Success)
            {
                yield return new(source, m.Groups["swap"].Index, m.Groups["swap"].Value, _swaps[m.Groups["swap"].Value]);
            }
            else if (m.Groups["index"].Success)
            {
                yield return new(source, m.Index, m.Value, $"[({m.Groups["index"].Value}) + 1]");
                yield return new(source, m.Index, m.Value, $"[({m.Groups["index"].Value}) - 1]");
            }
            else if (m.Groups["real"].Success)
            {
                yield return new(source, m.Index, m.Value, m.Value.StartsWith("0.0", StringComparison.Ordinal) ? "1.0f" : $"(2.0f * {m.Value})");
            }
            else
            {
                yield return new(source, m.Index, m.Value, $"{int.Parse(m.Value) + 1}");
                yield return new(source, m.Index, m.Value, $"{int.Parse(m.Value) - 1}");
            }
        }
    }

    [GeneratedRegex(@"//[^\n]*|^\s*#[^\n]*|__launch_bounds__\([^)]*\)|template <[^>]*>|""[^""]*""", RegexOptions.Multiline)]
    private static partial Regex Fixed();

    [GeneratedRegex(@"(?<wait>__syncthreads\(\);|copy_async_(?:wait<\d+>|commit)\(\);)|(?<= )(?<swap><=|>=|<<|>>|==|!=|&&|\|\||\+=|-=|[-<>+*/%&|])(?= )|\b(?<swap>min|max|fminf|fmaxf)(?=\()|\[(?<index>[\w *+/%.-]+)\](?! =)|(?<real>\b\d+\.\d+f)|(?<![\w.])\d{1,8}(?![\w.])")]
    private static partial Regex Token();
}
