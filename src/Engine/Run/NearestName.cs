// The known name closest to one that is not known, so that every such error offers one: the least edit distance if it is
// small beside the word's length, else an abbreviation (lr for learning-rate) or the longest name that is part of the other
// (--microbatch-size for --batch-size), else, without asking whether it was meant, the least distance all the same.
namespace OrionNative.Engine.Run;

static class NearestName
{
    const int PartLengthMin = 3;

    /// <summary>"; did you mean 'x'?", or with nothing near "; the nearest is 'x'", or with nothing known "".</summary>
    public static string Hint(string asked, IEnumerable<string> names)
    {
        string[] known = [.. names];
        if (known.Length == 0)
        {
            return "";
        }

        (string nearest, int distance) = known.Select(name => (name, EditDistance(asked.ToLowerInvariant(), name.ToLowerInvariant()))).MinBy(pair => pair.Item2);
        string? meant = distance <= Math.Min(asked.Trim('-').Length - 1, Math.Max(2, asked.Length / 3)) ? nearest
            : known.FirstOrDefault(name => IsShortFor(name, asked) || IsShortFor(asked, name))
                ?? known.Where(name => IsPart(name, asked) || IsPart(asked, name)).MaxBy(name => name.Length);
        return meant is null ? $"; the nearest is '{nearest}'" : $"; did you mean '{meant}'?";
    }

    // the first letters of the words, as lr of learning-rate
    static bool IsShortFor(string initials, string words)
    {
        string[] parts = words.Split('-', StringSplitOptions.RemoveEmptyEntries);
        return parts.Length > 1 && initials.TrimStart('-') == string.Concat(parts.Select(part => part[0]));
    }

    static bool IsPart(string part, string whole) => part.Trim('-') is { Length: >= PartLengthMin } text && whole.Contains(text, StringComparison.OrdinalIgnoreCase);

    static int EditDistance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(substituted, 1 + Math.Min(row[j], row[j - 1]));
            }
        }

        return row[b.Length];
    }
}
