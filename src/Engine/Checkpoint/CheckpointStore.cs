// The checkpoints of a run directory: checkpoints/step-00000100/ and `latest`, which names the newest complete one.
// Order of a save: files into a hidden sibling, each fsynced; manifest; rename of the folder; replacement of `latest`;
// removal of the oldest. Stopped at any point, `latest` names a whole checkpoint, because a name without the mark
// `.partial` is only ever given to a whole folder and the one that `latest` names is never removed.

using System.Buffers;
using System.Text;
using OrionNative.Engine.Run;
using OrionNative.Engine.Storage;

namespace OrionNative.Engine.Checkpoint;

/// <summary>The checkpoints of one run; one process (the trainer or the coordinator) saves at a time.</summary>
sealed class CheckpointStore
{
    const string PartialMark = ".partial";

    static readonly SearchValues<char> _nameCharacters = SearchValues.Create("0123456789.");

    readonly string _folder;
    readonly string _latest;

    /// <param name="runDirectory">Made if missing.</param>
    /// <param name="keep">Newest checkpoints that stay; at least 1.</param>
    public CheckpointStore(string runDirectory, int keep = 3)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(keep, 1);
        Keep = keep;
        _folder = Path.Combine(runDirectory, "checkpoints");
        _latest = Path.Combine(runDirectory, "latest");
        Directory.CreateDirectory(_folder);
    }

    /// <summary>Newest checkpoints that stay.</summary>
    public int Keep { get; }

    /// <summary>The folder of the newest complete checkpoint, or null before the first.</summary>
    public string? Latest => LatestOf(_latest, _folder);

    /// <summary>Saves everything from one process. Returns the checkpoint's folder.</summary>
    /// <exception cref="IOException">The disk is full or failed; what was saved before is untouched.</exception>
    public string Save(CheckpointState state, IReadOnlyList<TensorGroup> groups, IReadOnlyDictionary<string, byte[]>? otherFiles = null)
    {
        using CheckpointWriter writer = Begin(state.Step);
        var files = new List<CheckpointFile>(groups.Select(writer.WriteGroup));
        foreach ((string name, byte[] content) in otherFiles ?? new Dictionary<string, byte[]>())
            files.Add(writer.WriteFile(name, content));
        return Commit(writer, state, files);
    }

    /// <summary>Opens a folder to be filled, by this process or by the stages that reach it; nothing is visible as a
    /// checkpoint before <see cref="Commit"/>. Left-overs of interrupted saves are removed.</summary>
    public CheckpointWriter Begin(long step)
    {
        RemoveLeftOvers();
        return BeginBeside(step);
    }

    /// <summary>Removes what interrupted saves left behind; nobody may be saving.</summary>
    public void RemoveLeftOvers()
    {
        foreach (string partial in Directory.GetDirectories(_folder, $".*{PartialMark}"))
            Directory.Delete(partial, recursive: true);
    }

    /// <summary>As <see cref="Begin"/>, while other checkpoints are still being filled.</summary>
    public CheckpointWriter BeginBeside(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        string folder = Path.Combine(_folder, $".{StepName(step)}{PartialMark}");
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (IOException error)
        {
            throw CheckpointWriter.Failure(step, _folder, "a folder needs a page", error);
        }
        return new CheckpointWriter(folder, step);
    }

    /// <summary>Writes the manifest over <paramref name="files"/> (as the writers returned them), makes the checkpoint
    /// visible, points <c>latest</c> at it and removes the oldest. Returns the checkpoint's folder.</summary>
    public string Commit(CheckpointWriter writer, CheckpointState state, IReadOnlyList<CheckpointFile> files)
    {
        (string Folder, long Serial)[] earlier = Complete();
        var manifest = new CheckpointManifest(CheckpointManifest.CurrentVersion, 1 + earlier.Select(entry => entry.Serial).DefaultIfEmpty(0).Max(), state, [.. files.OrderBy(file => file.Name, StringComparer.Ordinal)]);
        writer.WriteManifest(manifest);

        string folder = FreeName(state.Step);
        writer.MoveTo(folder);
        try
        {
            DurableFiles.FlushDirectory(_folder);
            DurableFiles.Replace(_latest, Encoding.UTF8.GetBytes(Path.GetFileName(folder) + "\n"));
        }
        catch (IOException error)
        {
            Remove(folder);
            throw CheckpointWriter.Failure(state.Step, _folder, "`latest` needs a page", error);
        }
        foreach ((string old, _) in earlier.OrderByDescending(entry => entry.Serial).Skip(Keep - 1))
            Remove(old);
        return folder;
    }

    /// <summary>False while a run has no checkpoint yet: neither `latest` nor a folder of one.</summary>
    public static bool HasAny(string runDirectory) =>
        File.Exists(Path.Combine(runDirectory, "latest")) || Names(Path.Combine(runDirectory, "checkpoints")).Length > 0;

    /// <summary>The folder's path, given a run directory or a checkpoint.</summary>
    /// <exception cref="ConfigurationException">It is neither.</exception>
    public static string Resolve(string path)
    {
        if (File.Exists(Path.Combine(path, CheckpointManifest.FileName)))
            return path;
        return LatestOf(Path.Combine(path, "latest"), Path.Combine(path, "checkpoints"))
            ?? throw new ConfigurationException($"'{path}' is neither a checkpoint (it has no {CheckpointManifest.FileName}) nor a run directory with one (it has no file `latest`).");
    }

    static string? LatestOf(string file, string folder)
    {
        if (!File.Exists(file))
            return null;
        string name = File.ReadAllText(file).Trim();
        string found = Path.Combine(folder, name);
        if (!IsName(name) || !Directory.Exists(found))
            throw new InvalidDataException($"{file} names '{name}', which is not in {folder}. Name a checkpoint folder there instead: {string.Join(", ", Names(folder))}.");
        return found;
    }

    static string StepName(long step) => $"step-{step:D8}";

    // A run that went back may reach a step again: the second is step-00000100.2. Replacing a folder is not atomic.
    string FreeName(long step)
    {
        string name = Path.Combine(_folder, StepName(step));
        for (int again = 2; Directory.Exists(name); again++)
            name = Path.Combine(_folder, $"{StepName(step)}.{again}");
        return name;
    }

    static bool IsName(string name) => name.StartsWith("step-", StringComparison.Ordinal) && name.AsSpan(5).IndexOfAnyExcept(_nameCharacters) < 0;

    static string[] Names(string folder) =>
        !Directory.Exists(folder) ? [] : [.. Directory.GetDirectories(folder).Select(path => Path.GetFileName(path)).Where(IsName).Order(StringComparer.Ordinal)];

    // A folder whose manifest cannot be read is left alone: it is not counted and not removed, for someone to look at.
    (string Folder, long Serial)[] Complete()
    {
        var found = new List<(string, long)>();
        foreach (string name in Names(_folder))
        {
            string folder = Path.Combine(_folder, name);
            if (CheckpointReader.TryReadManifest(folder, out CheckpointManifest? manifest, out _))
                found.Add((folder, manifest.Serial));
        }
        return [.. found];
    }

    // Renamed first, so that a removal that is cut short leaves no folder with a checkpoint's name and half its files.
    static void Remove(string folder)
    {
        string doomed = Path.Combine(Path.GetDirectoryName(folder)!, $".{Path.GetFileName(folder)}{PartialMark}");
        Directory.Move(folder, doomed);
        Directory.Delete(doomed, recursive: true);
    }
}
