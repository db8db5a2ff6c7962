// Fills the folder of a checkpoint that is not yet one. Each stage writes the groups of its own layers and hands the
// file records (name, size, SHA-256) to whoever commits; the manifest comes last. A failed write removes the folder and
// says, in one sentence, what was not saved and what is still there.
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using OrionNative.Engine.Storage;

namespace OrionNative.Engine.Checkpoint;

/// <summary>Writes files into a checkpoint in the making.</summary>
sealed class CheckpointWriter : IDisposable
{
    const int NoSpace = 28; // ENOSPC, which .NET passes on as the HResult

    readonly long _step;
    bool _moved;

    /// <param name="folder">Made by <see cref="CheckpointStore.Begin"/>, here or in another process.</param>
    /// <param name="step">The step that is saved.</param>
    public CheckpointWriter(string folder, long step)
    {
        Folder = folder;
        _step = step;
    }

    /// <summary>Where the files go until the checkpoint is committed.</summary>
    public string Folder { get; }

    /// <summary>Writes one group as <c>name.safetensors</c>.</summary>
    /// <exception cref="IOException">The disk is full or failed.</exception>
    public CheckpointFile WriteGroup(TensorGroup group)
    {
        string name = group.Name + ".safetensors";
        return Guard(name, SafetensorsWriter.FileBytes(group.Tensors), stream => SafetensorsWriter.Write(stream, group.Tensors));
    }

    /// <summary>Writes a small file, such as tokenizer.json.</summary>
    public CheckpointFile WriteFile(string name, byte[] content) => Guard(name, content.Length, stream =>
    {
        stream.Write(content);
        return Convert.ToHexStringLower(SHA256.HashData(content));
    });

    /// <summary>Writes manifest.json and manifest.sha256.</summary>
    public void WriteManifest(CheckpointManifest manifest)
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(manifest, CheckpointJson.Default.CheckpointManifest);
        CheckpointFile file = WriteFile(CheckpointManifest.FileName, json);
        WriteFile(CheckpointManifest.HashFileName, Encoding.UTF8.GetBytes($"{file.Sha256}  {file.Name}\n"));
        DurableFiles.FlushDirectory(Folder);
    }

    CheckpointFile Guard(string name, long bytes, Func<Stream, string> write)
    {
        try
        {
            using var stream = new FileStream(Path.Combine(Folder, name), FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0);
            string sha256 = write(stream);
            stream.Flush(flushToDisk: true);
            return new CheckpointFile(name, stream.Length, sha256);
        }
        catch (IOException error)
        {
            throw Failure(_step, Path.GetDirectoryName(Folder)!, $"{name} needs {bytes} bytes", error);
        }
    }

    /// <summary>What a failed save says.</summary>
    public static IOException Failure(long step, string checkpoints, string need, IOException error)
    {
        string why = error.HResult == NoSpace ? $"the disk is full ({need})" : error.Message.TrimEnd('.');
        return new IOException($"The checkpoint of step {step} was not saved in {checkpoints}: {why}. Earlier checkpoints are untouched. Free space or name another --out, then go on with --resume.", error);
    }

    /// <summary>Gives the finished folder its name.</summary>
    public void MoveTo(string folder)
    {
        Directory.Move(Folder, folder);
        _moved = true;
    }

    /// <summary>Removes what was not committed.</summary>
    public void Dispose()
    {
        if (!_moved && Directory.Exists(Folder))
            Directory.Delete(Folder, recursive: true);
    }
}
