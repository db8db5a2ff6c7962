// The known name closest to a misspelt one, so that an error can offer it: the least edit distance, if it is small
// beside the word's length.
namespace OrionNative.Engine.Run;

static class NearestName
{
    /// <summary>"; did you mean 'x'?" or, with nothing near, "".</summary>
    public static string Hint(string asked, IEnumerable<string> known)
    {
        string? best = Find(asked, known);
        return best is null ? "" : $"; did you mean '{best}'?";
    }

    public static string? Find(string asked, IEnumerable<string> known)
    {
        (string? best, int distanceMin) = (null, Math.Max(2, asked.Length / 3) + 1);
        foreach (string name in known)
        {
            int distance = EditDistance(asked.ToLowerInvariant(), name.ToLowerInvariant());
            if (distance < distanceMin)
            {
                (best, distanceMin) = (name, distance);
            }
        }

        return best;
    }

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
