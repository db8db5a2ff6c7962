// The directory of one run: run.yaml, events.jsonl, metrics.jsonl, checkpoints/, latest. Lines are appended whole and
// flushed, so a killed process leaves at most one torn last line, which the next start cuts off. One process writes a
// directory at a time: it holds a lock on the file `lock`, which the kernel lets go of when the process is gone.
// Events carry their number, from 1 without gaps: whoever reads on asks for those after the last it has.
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting;

/// <summary>Opens, appends to and reads the files of a run directory.</summary>
sealed class RunDirectory : IDisposable
{
    const string ConfigFile = "run.yaml";
    const string EventsFile = "events.jsonl";
    const string MetricsFile = "metrics.jsonl";
    const string LockFile = "lock";
    const int EventsRemembered = 4096;
    static readonly JsonSerializerOptions _line = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly FileStream _lock;
    readonly Lock _gate = new();
    readonly Queue<(long Id, string Line)> _newest = [];
    readonly StreamWriter _events;
    StreamWriter _metrics;
    readonly TimeProvider _clock;

    RunDirectory(string path, FileStream held, TimeProvider clock)
    {
        Path = path;
        _lock = held;
        _clock = clock;
        CutTornLine(System.IO.Path.Combine(path, EventsFile));
        foreach (string line in File.Exists(System.IO.Path.Combine(path, EventsFile)) ? File.ReadLines(System.IO.Path.Combine(path, EventsFile)) : [])
        {
            Remember(line);
        }

        _events = Append(EventsFile);
        _metrics = Append(MetricsFile);
    }

    /// <summary>The directory, absolute.</summary>
    public string Path { get; }

    /// <summary>Starts a new run in an empty or new directory; "" takes the next free number under runs/.</summary>
    public static RunDirectory Create(string path, RunConfig config, TimeProvider clock)
    {
        path = System.IO.Path.GetFullPath(path.Length > 0 ? path : NextFree("runs"));
        // a start that a full disk ended leaves these two
        if (Directory.Exists(path) && Directory.EnumerateFileSystemEntries(path).Any(entry => System.IO.Path.GetFileName(entry) is not (LockFile or ConfigFile + ".new")))
        {
            string fix = File.Exists(System.IO.Path.Combine(path, ConfigFile))
                ? $"continue it with --resume {path}, or choose another --out"
                : "choose another --out";
            throw new ConfigurationException($"{path} is not empty; {fix}");
        }

        try
        {
            Directory.CreateDirectory(path);
            FileStream held = Hold(path);
            WriteConfig(path, config with { Out = path });
            return new RunDirectory(path, held, clock);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"the run directory {path} cannot be made: {error.Message.TrimEnd('.')}; choose another --out", error);
        }
    }

    /// <summary>Continues an existing run. Metrics after the step that the run goes on from are dropped: they will be
    /// written again, by the same steps.</summary>
    public static RunDirectory Resume(string path, RunConfig config, int step, TimeProvider clock)
    {
        path = System.IO.Path.GetFullPath(path);
        FileStream held = Hold(path);
        WriteConfig(path, config with { Out = path });
        DropMetricsAfter(System.IO.Path.Combine(path, MetricsFile), step);
        return new RunDirectory(path, held, clock);
    }

    /// <summary>True while some process writes the directory.</summary>
    public static bool IsInUse(string path)
    {
        string file = System.IO.Path.Combine(path, LockFile);
        if (!File.Exists(file))
        {
            return false;
        }

        try
        {
            new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read).Dispose();
            return false;
        }
        catch (IOException)
        {
            return true;
        }
    }

    static FileStream Hold(string path) => Hold(path, $"another process trains in {path}; stop that one first");

    /// <summary>Keeps other processes out of a directory until it is disposed.</summary>
    /// <exception cref="IOException">Another process holds it: the refusal.</exception>
    public static FileStream Hold(string path, string refusal) => IsInUse(path)
        ? throw new IOException(refusal)
        : new FileStream(System.IO.Path.Combine(path, LockFile), FileMode.OpenOrCreate, FileAccess.Write, FileShare.None);

    /// <summary>The configuration that a run was started with.</summary>
    public static RunConfig ReadConfig(string path)
    {
        string file = System.IO.Path.Combine(path, ConfigFile);
        return File.Exists(file)
            ? YamlFiles.ReadRun(File.ReadAllText(file), file, new RunConfig())
            : throw new ConfigurationException($"{path} is not a run directory: it has no {ConfigFile}");
    }

    /// <summary>What to say when the run in a directory has made every step that it is asked for.</summary>
    public static ConfigurationException NoStepsLeft(string path, long done, int asked) =>
        new($"the run in {path} has done {done} steps and is asked for {asked}; ask for more with --steps");

    /// <summary>Number of the newest event.</summary>
    public long EventCount { get; private set; }

    void Remember(string line)
    {
        _newest.Enqueue((++EventCount, line));
        if (_newest.Count > EventsRemembered)
        {
            _newest.Dequeue();
        }
    }

    /// <summary>Events after a number, oldest first, as lines of events.jsonl. From any thread.</summary>
    public (long Id, string Line)[] EventsAfter(long id, int limit)
    {
        lock (_gate)
        {
            if (_newest.Count == 0 || _newest.Peek().Id <= id + 1)
            {
                return [.. _newest.SkipWhile(line => line.Id <= id).Take(limit)];
            }
        }

        return [.. ReadShared().Select((line, index) => (index + 1L, line)).SkipWhile(line => line.Item1 <= id).Take(limit)];
    }

    IEnumerable<string> ReadShared()
    {
        using StreamReader reader = new(new FileStream(System.IO.Path.Combine(Path, EventsFile), FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        while (reader.ReadLine() is { } line)
        {
            yield return line;
        }
    }

    /// <summary>Appends an event with its time; from any thread.</summary>
    public void Event(string kind, JsonObject? details = null)
    {
        lock (_gate)
        {
            AppendEvent(kind, details);
        }
    }

    void AppendEvent(string kind, JsonObject? details)
    {
        JsonObject line = new() { ["id"] = EventCount + 1, ["time"] = _clock.GetUtcNow().ToString("O", CultureInfo.InvariantCulture), ["event"] = kind };
        foreach ((string key, JsonNode? value) in details ?? [])
        {
            line[key] = value?.DeepClone();
        }

        string text = line.ToJsonString(_line);
        _events.WriteLine(text);
        _events.Flush();
        Remember(text);
    }

    /// <summary>Appends the line of an inner step.</summary>
    public void Metrics(JsonObject line)
    {
        _metrics.WriteLine(line.ToJsonString(_line));
        _metrics.Flush();
    }

    /// <summary>The steps after this one are undone and will be done again: their lines go.</summary>
    public void DropMetricsAfter(int step)
    {
        _metrics.Dispose();
        DropMetricsAfter(System.IO.Path.Combine(Path, MetricsFile), step);
        _metrics = Append(MetricsFile);
    }

    /// <summary>Removes the directory of a run that could not begin.</summary>
    public void Discard()
    {
        Dispose();
        Directory.Delete(Path, recursive: true);
    }

    /// <summary>The lines of events.jsonl, whole ones only.</summary>
    public static IEnumerable<JsonObject> ReadEvents(string path) => ReadLines(System.IO.Path.Combine(path, EventsFile));

    /// <summary>The lines of metrics.jsonl, whole ones only.</summary>
    public static IEnumerable<JsonObject> ReadMetrics(string path) => ReadLines(System.IO.Path.Combine(path, MetricsFile));

    static IEnumerable<JsonObject> ReadLines(string file)
    {
        if (!File.Exists(file))
        {
            yield break;
        }

        using StreamReader reader = new(new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        while (reader.ReadLine() is { } line)
        {
            JsonObject? read = null;
            try
            {
                read = JsonNode.Parse(line) as JsonObject;
            }
            catch (JsonException)
            {
                // the torn last line of a killed process
            }

            if (read is not null)
            {
                yield return read;
            }
        }
    }

    static void CutTornLine(string file)
    {
        if (!File.Exists(file))
        {
            return;
        }

        using FileStream stream = new(file, FileMode.Open, FileAccess.ReadWrite);
        long end = stream.Length;
        for (; end > 0; end--)
        {
            stream.Position = end - 1;
            if (stream.ReadByte() == '\n')
            {
                break;
            }
        }

        stream.SetLength(end);
    }

    static void DropMetricsAfter(string file, int step)
    {
        if (!File.Exists(file))
        {
            return;
        }

        string[] kept = [.. ReadLines(file).Where(line => (int?)line["step"] <= step).Select(line => line.ToJsonString(_line))];
        File.WriteAllLines(file + ".new", kept);
        File.Move(file + ".new", file, overwrite: true);
    }

    static void WriteConfig(string path, RunConfig config)
    {
        string file = System.IO.Path.Combine(path, ConfigFile);
        File.WriteAllText(file + ".new", YamlFiles.WriteRun(config));
        File.Move(file + ".new", file, overwrite: true);
    }

    static string NextFree(string parent)
    {
        for (int number = 1; ; number++)
        {
            string path = System.IO.Path.Combine(parent, number.ToString("D4", CultureInfo.InvariantCulture));
            if (!Directory.Exists(path))
            {
                return path;
            }
        }
    }

    StreamWriter Append(string name) => new(new FileStream(System.IO.Path.Combine(Path, name), FileMode.Append, FileAccess.Write, FileShare.Read));

    /// <inheritdoc/>
    public void Dispose()
    {
        _events.Dispose();
        _metrics.Dispose();
        _lock.Dispose();
    }
}
