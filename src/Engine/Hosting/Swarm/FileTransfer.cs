// Files of checkpoints between a peer and the orchestrator. Up: the peer offers a file (name, size, SHA-256), then sends it.
// Down: the peer asks for a file of a step, the orchestrator sends it. The pieces go over the bulk lane, named by a serial
// number; each has its own digest, and whoever receives a file checks the SHA-256 of the whole against a list it trusts.
using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>"Send me this file of the checkpoint of Step, under this number."</summary>
sealed record FileAsked(int Step, string Name, uint Serial)
{
    public byte[] Encode() => [(byte)ControlTag.FileAsked, .. JsonSerializer.SerializeToUtf8Bytes(this)];

    public static FileAsked Decode(ReadOnlySpan<byte> body) => FileTransfer.Read<FileAsked>(body[1..]);
}

/// <summary>"I send this file of my stage's part of the checkpoint of Step, under this number."</summary>
sealed record FileOffered(int AdmittedEpoch, int Step, int Stage, string Name, long Bytes, string Sha256, uint Serial)
{
    public byte[] Encode() => [(byte)ControlTag.FileOffered, .. JsonSerializer.SerializeToUtf8Bytes(this)];

    public static FileOffered Decode(ReadOnlySpan<byte> body) => FileTransfer.Read<FileOffered>(body[1..]);
}

static class FileTransfer
{
    static readonly Task<bool> _read = Task.FromResult(true);

    /// <summary>Reads a request.</summary>
    /// <exception cref="InvalidDataException">It is none.</exception>
    public static T Read<T>(ReadOnlySpan<byte> json) where T : class
    {
        try
        {
            return JsonSerializer.Deserialize<T>(json, ControlCodec.Strict) ?? throw new InvalidDataException($"a {typeof(T).Name} without content");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{json.Length} bytes are no {typeof(T).Name}: {error.Message}", error);
        }
    }

    /// <summary>True for a plain name of a checkpoint's file: no folder, nothing hidden.</summary>
    public static bool IsPlainName(string name) =>
        name.Length is > 0 and < 100 && name[0] != '.' && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');

    /// <summary>Sends a file under the mark of its sender; false if the link closed or turned it away.</summary>
    public static async Task<bool> SendAsync(PeerLink link, PinnedPool pool, UInt128 run, int step, uint sender, uint serial, string path)
    {
        using SafeFileHandle file = File.OpenHandle(path);
        MessageHeader header = new() { Run = run, Kind = MessageKind.Checkpoint, Step = (uint)step, Epoch = sender + serial, Tag = serial };
        return await BulkTransfer.SendAsync(link, pool, header, RandomAccess.GetLength(file), (offset, slot, size) =>
        {
            if (RandomAccess.Read(file, slot.Span(size), offset) != size)
            {
                throw new IOException($"{path} became shorter while it was sent");
            }

            return _read;
        });
    }
}

/// <summary>Puts files together, on a thread of its own so that a slow disk delays no message.</summary>
sealed class FileReceiver : IDisposable
{
    sealed class Incoming(SafeFileHandle file, string path, long bytesMax, Action<IOException?> ended)
    {
        public SafeFileHandle File => file;

        public string Path => path;

        public long BytesMax => bytesMax;

        public int PiecesTaken { get; set; }

        public Action<IOException?> Ended => ended;
    }

    readonly ConcurrentDictionary<(PeerId From, uint Serial), Incoming> _open = new();
    readonly BlockingCollection<Action> _queue = new(new ConcurrentQueue<Action>());
    readonly Thread _thread;

    public FileReceiver()
    {
        _thread = new Thread(Work) { IsBackground = true, Name = "orion files" };
        _thread.Start();
    }

    void Work()
    {
        foreach (Action work in _queue.GetConsumingEnumerable())
        {
            work();
        }
    }

    /// <summary>Runs something after all pieces that have come so far are written, and their files' ends told.</summary>
    public void Then(Action action) => _queue.Add(action);

    /// <summary>A file is about to come. Ended is told, on the receiver's thread, when it is whole and on the disk (null), or
    /// why it never will be.</summary>
    public void Expect(PeerId from, uint serial, string path, long bytesMax, Action<IOException?> ended) =>
        _open[(from, serial)] = new Incoming(File.OpenHandle(path, FileMode.Create, FileAccess.Write), path, bytesMax, ended);

    /// <summary>A piece arrived; its slot is granted again once it is written. Called on a transport's thread.</summary>
    public void Take(PeerLink link, PeerId from, MessageHeader header, Slot slot) => _queue.Add(() =>
    {
        if (_open.TryGetValue((from, (uint)header.Tag), out Incoming? incoming))
        {
            Write((from, (uint)header.Tag), incoming, header, slot);
        }

        link.Grant(slot, Lane.Bulk);
    });

    void Write((PeerId, uint) key, Incoming incoming, in MessageHeader header, Slot slot)
    {
        try
        {
            long offset = (long)header.Part * BulkTransfer.PieceBytes;
            if (offset + (long)header.PayloadBytes > incoming.BytesMax)
            {
                throw new IOException($"{Path.GetFileName(incoming.Path)} is longer than the {incoming.BytesMax} bytes that it may have");
            }

            RandomAccess.Write(incoming.File, slot.Span((int)header.PayloadBytes), offset);
            if (++incoming.PiecesTaken == header.Microbatch)
            {
                RandomAccess.FlushToDisk(incoming.File);
                Close(key, null);
            }
        }
        catch (IOException error)
        {
            Close(key, error);
        }
    }

    void Close((PeerId, uint) key, IOException? error)
    {
        if (!_open.TryRemove(key, out Incoming? incoming))
        {
            return;
        }

        incoming.File.Dispose();
        incoming.Ended(error);
    }

    /// <summary>The link to a peer closed: what it was sending comes no more.</summary>
    public void Abandon(PeerId from) => _queue.Add(() =>
    {
        foreach ((PeerId From, uint Serial) key in _open.Keys.Where(key => key.From == from).ToArray())
        {
            Close(key, new IOException($"the link to {from.Short} closed before the file was whole"));
        }
    });

    /// <inheritdoc/>
    public void Dispose()
    {
        _queue.CompleteAdding();
        _thread.Join();
        _queue.Dispose();
        foreach (Incoming incoming in _open.Values)
        {
            incoming.File.Dispose();
        }
    }
}
