// Which files a --data argument names: a file, a folder (its .txt, .md and .jsonl files, all levels down) or a glob with
// *, ? and ** (any number of folders). The result is in ordinal order, so that every machine reads the same text in the
// same order. A pattern that matches nothing is an error, not an empty corpus.
using System.IO.Enumeration;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Data;

static class CorpusFiles
{
    static readonly string[] _folderExtensions = [".txt", ".md", ".jsonl"];

    /// <summary>The files that the patterns name, each once.</summary>
    /// <exception cref="ConfigurationException">A pattern names nothing, or an empty file.</exception>
    public static IReadOnlyList<string> Resolve(IEnumerable<string> patterns)
    {
        var files = new List<string>();
        var seen = new HashSet<string>();
        foreach (string pattern in patterns)
            files.AddRange(ResolveOne(pattern).Where(file => seen.Add(Path.GetFullPath(file))));
        if (files.Count == 0)
            throw new ConfigurationException("No data was named. Give a file, a folder or a glob.");
        if (files.All(file => new FileInfo(file).Length == 0))
            throw new ConfigurationException($"The data is empty: {string.Join(", ", files.Take(3))} {(files.Count == 1 ? "has" : "have")} 0 bytes. Name a file with text in it.");
        return files;
    }

    static string[] ResolveOne(string pattern)
    {
        if (File.Exists(pattern))
            return [pattern];
        if (Directory.Exists(pattern))
        {
            string[] found = [.. Under(pattern).Where(file => _folderExtensions.Contains(Path.GetExtension(file)))];
            return found.Length > 0 ? found : throw new ConfigurationException($"Folder '{pattern}' has no .txt, .md or .jsonl file. Name the files, or a glob such as '{Path.Combine(pattern, "**", "*.cs")}'.");
        }
        if (!pattern.AsSpan().ContainsAny('*', '?'))
            throw new ConfigurationException($"There is no file or folder '{pattern}' (looked in {Directory.GetCurrentDirectory()}).");

        string[] segments = pattern.Split('/');
        int literal = Array.FindIndex(segments, segment => segment.AsSpan().ContainsAny('*', '?'));
        string root = string.Join('/', segments[..literal]);
        root = root.Length == 0 ? pattern.StartsWith('/') ? "/" : "." : root;
        string[] matched = !Directory.Exists(root) ? [] : [.. Under(root).Where(file => Matches(segments.AsSpan(literal), Path.GetRelativePath(root, file).Split('/')))];
        return matched.Length > 0 ? matched : throw new ConfigurationException($"Nothing matches '{pattern}' (looked under {Path.GetFullPath(root)}).");
    }

    static string[] Under(string folder)
    {
        string[] files = Directory.GetFiles(folder, "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = false, AttributesToSkip = FileAttributes.None });
        Array.Sort(files, StringComparer.Ordinal);
        return files;
    }

    static bool Matches(ReadOnlySpan<string> pattern, ReadOnlySpan<string> path)
    {
        if (pattern.IsEmpty)
            return path.IsEmpty;
        if (pattern[0] == "**")
            return Matches(pattern[1..], path) || (!path.IsEmpty && Matches(pattern, path[1..]));
        return !path.IsEmpty && FileSystemName.MatchesSimpleExpression(pattern[0], path[0], ignoreCase: false) && Matches(pattern[1..], path[1..]);
    }
}
