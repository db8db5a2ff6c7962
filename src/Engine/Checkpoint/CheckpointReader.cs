// Opens a checkpoint: the manifest is checked against its own hash, then every listed file against size and SHA-256, and
// only then is a tensor handed out. A missing, cut or altered file is named. Tensors are found by name in whatever file
// holds them, so a checkpoint written by any number of stages is read by any other number.
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text.Json;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Checkpoint;

/// <summary>A complete, verified checkpoint, memory-mapped.</summary>
sealed class CheckpointReader : IDisposable
{
    readonly Dictionary<string, SafetensorsFile> _groups = [];
    readonly Dictionary<string, TensorView> _tensors = [];

    CheckpointReader(string folder, CheckpointManifest manifest)
    {
        Folder = folder;
        Manifest = manifest;
    }

    public string Folder { get; }

    public CheckpointManifest Manifest { get; }

    public CheckpointState State => Manifest.State;

    /// <summary>All tensors of all groups, by name.</summary>
    public IReadOnlyDictionary<string, TensorView> Tensors => _tensors;

    /// <summary>The groups present, by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsFile> Groups => _groups;

    /// <summary>Opens a checkpoint folder, or the newest one of a run directory.</summary>
    /// <param name="path">Either.</param>
    /// <param name="groups">The only groups wanted (a stage's layers, say), or null for all; others are not read.</param>
    /// <exception cref="InvalidDataException">A file is missing, cut or altered; the message names it.</exception>
    public static CheckpointReader Open(string path, IReadOnlyCollection<string>? groups = null)
    {
        string folder = CheckpointStore.Resolve(path);
        if (!TryReadManifest(folder, out CheckpointManifest? manifest, out string? why))
            throw new InvalidDataException(why);
        var reader = new CheckpointReader(folder, manifest);
        try
        {
            foreach (string group in groups ?? [])
            {
                if (!manifest.Files.Any(file => file.Name == group + ".safetensors"))
                    throw new InvalidDataException($"Checkpoint {folder} has no group '{group}'.");
            }
            foreach (CheckpointFile file in manifest.Files)
                reader.Add(file, groups);
            return reader;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>What the newest checkpoint of a run directory says of its run; null before the first.</summary>
    /// <exception cref="InvalidDataException">The manifest is missing or altered; the message names it.</exception>
    public static CheckpointState? NewestState(string runDirectory)
    {
        if (!CheckpointStore.HasAny(runDirectory))
            return null;
        return TryReadManifest(CheckpointStore.Resolve(runDirectory), out CheckpointManifest? manifest, out string? why) ? manifest.State : throw new InvalidDataException(why);
    }

    /// <summary>Reads manifest.json if it is whole.</summary>
    public static bool TryReadManifest(string folder, [NotNullWhen(true)] out CheckpointManifest? manifest, [NotNullWhen(false)] out string? why)
    {
        manifest = null;
        why = null;
        string path = Path.Combine(folder, CheckpointManifest.FileName);
        string hashPath = Path.Combine(folder, CheckpointManifest.HashFileName);
        try
        {
            byte[] json = File.ReadAllBytes(path);
            string expected = File.ReadAllText(hashPath).Split(' ')[0];
            string found = Convert.ToHexStringLower(SHA256.HashData(json));
            if (found != expected)
                why = $"{path} was altered: its SHA-256 is {found}, {CheckpointManifest.HashFileName} says {expected}.";
            else
                manifest = JsonSerializer.Deserialize(json, CheckpointJson.Default.CheckpointManifest);
        }
        catch (Exception error) when (error is IOException or JsonException or UnauthorizedAccessException)
        {
            why = $"{path} cannot be read: {error.Message}";
        }
        if (manifest is { Version: not CheckpointManifest.CurrentVersion })
        {
            why = $"{path} is of version {manifest.Version}; this program reads version {CheckpointManifest.CurrentVersion}.";
            manifest = null;
        }
        if (manifest is not null)
            return true;
        why ??= $"{path} is empty.";
        return false;
    }

    void Add(CheckpointFile file, IReadOnlyCollection<string>? groups)
    {
        string path = Path.Combine(Folder, file.Name);
        string group = Path.GetFileNameWithoutExtension(file.Name);
        bool isGroup = Path.GetExtension(file.Name) == ".safetensors";
        if (isGroup && groups is not null && !groups.Contains(group))
            return;
        Verify(path, file);
        if (!isGroup)
            return;
        var tensors = new SafetensorsFile(path);
        _groups.Add(group, tensors);
        foreach ((string name, TensorView view) in tensors.Tensors)
        {
            if (!_tensors.TryAdd(name, view))
                throw new InvalidDataException($"{path} holds the tensor '{name}', which another file of the checkpoint holds too.");
        }
    }

    static void Verify(string path, CheckpointFile file)
    {
        if (Path.GetFileName(file.Name) != file.Name)
            throw new InvalidDataException($"The manifest beside {path} lists '{file.Name}', which is not a plain file name.");
        var info = new FileInfo(path);
        if (!info.Exists)
            throw new InvalidDataException($"{path} is missing; the manifest lists it with {file.Bytes} bytes. Use another checkpoint.");
        if (info.Length != file.Bytes)
            throw new InvalidDataException($"{path} has {info.Length} bytes, the manifest says {file.Bytes}: it was cut or altered. Use another checkpoint.");
        using FileStream stream = File.OpenRead(path);
        string found = Convert.ToHexStringLower(SHA256.HashData(stream));
        if (found != file.Sha256)
            throw new InvalidDataException($"{path} was altered: its SHA-256 is {found}, the manifest says {file.Sha256}. Use another checkpoint.");
    }

    /// <summary>A tensor by name, of the expected type and shape.</summary>
    /// <exception cref="InvalidDataException">It is missing or different.</exception>
    public TensorView Tensor(string name, TensorType type, ReadOnlySpan<long> shape)
    {
        if (!_tensors.TryGetValue(name, out TensorView view))
            throw new InvalidDataException($"Checkpoint {Folder} has no tensor '{name}': it is of another model.");
        if (view.Type != type || !shape.SequenceEqual(view.Shape.ToArray()))
            throw new InvalidDataException($"Tensor '{name}' of checkpoint {Folder} is {view.Type} [{string.Join(',', view.Shape)}], the model expects {type} [{string.Join(',', shape.ToArray())}]: the checkpoint is of another model.");
        return view;
    }

    /// <summary>The content of a file that is not a group, such as tokenizer.json.</summary>
    public byte[] ReadFile(string name) => Manifest.Files.Any(file => file.Name == name)
        ? File.ReadAllBytes(Path.Combine(Folder, name))
        : throw new InvalidDataException($"Checkpoint {Folder} has no {name}.");

    /// <summary>Refuses a tokenizer other than the one the model was trained with.</summary>
    /// <exception cref="ConfigurationException">It differs.</exception>
    public void RequireTokenizer(string tokenizerHash)
    {
        if (tokenizerHash != State.TokenizerHash)
            throw new ConfigurationException($"Checkpoint {Folder} was trained with tokenizer {State.TokenizerHash[..12]}, not with {tokenizerHash[..12]}. Give the tokenizer.json of the checkpoint.");
    }

    public void Dispose()
    {
        foreach (SafetensorsFile group in _groups.Values)
            group.Dispose();
    }
}
