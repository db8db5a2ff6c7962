// The whole-run checkpoint in the making: the stages' files arrive here while the run goes on, each checked against the
// SHA-256 that its stage told; when every stage is here the manifest is written and the folder gets its name.
// One loop thread uses it; files arrive on the receiver's thread and are entered here under a lock.
using System.Security.Cryptography;
using OrionNative.Engine.Checkpoint;

namespace OrionNative.Engine.Hosting.Swarm;

sealed class CheckpointInbox
{
    readonly CheckpointStore _store;
    readonly Lock _gate = new();
    readonly SortedDictionary<int, CheckpointWriter> _folders = [];
    readonly Dictionary<(int Step, string Name), CheckpointFile> _files = [];

    public CheckpointInbox(CheckpointStore store)
    {
        _store = store;
        store.RemoveLeftOvers();
    }

    /// <summary>Where a file of a step is to be put while it arrives.</summary>
    public string PathFor(int step, string name)
    {
        lock (_gate)
        {
            return Path.Combine(FolderOf(step).Folder, name);
        }
    }

    CheckpointWriter FolderOf(int step)
    {
        if (!_folders.TryGetValue(step, out CheckpointWriter? writer))
        {
            _folders[step] = writer = _store.BeginBeside(step);
        }

        return writer;
    }

    /// <summary>A file has arrived; enters it if it is what was offered. Returns why not, or "".</summary>
    public string Enter(FileOffered offer)
    {
        string path = PathFor(offer.Step, offer.Name);
        string sha256;
        long bytes;
        using (FileStream file = File.OpenRead(path))
        {
            sha256 = Convert.ToHexStringLower(SHA256.HashData(file));
            bytes = file.Length;
        }

        if (sha256 != offer.Sha256 || bytes != offer.Bytes)
        {
            return $"{offer.Name} of step {offer.Step} arrived with {bytes} bytes and SHA-256 {sha256}, offered were {offer.Bytes} bytes and {offer.Sha256}";
        }

        lock (_gate)
        {
            _files[(offer.Step, offer.Name)] = new CheckpointFile(offer.Name, bytes, sha256);
        }

        return "";
    }

    /// <summary>True when every named file of a step is here.</summary>
    public bool Holds(int step, IEnumerable<string> names)
    {
        lock (_gate)
        {
            return names.All(name => _files.ContainsKey((step, name)));
        }
    }

    /// <summary>All stages are here: the checkpoint becomes visible, and older unfinished ones go.</summary>
    public void Commit(int step, ResolvedRun run, string dataHash)
    {
        lock (_gate)
        {
            CheckpointWriter writer = FolderOf(step);
            CheckpointFile tokenizer = writer.WriteFile(RunCheckpoint.TokenizerFile, run.Tokenizer.ToJson());
            _store.Commit(writer, RunCheckpoint.StateOf(run, step, dataHash), [.. _files.Where(file => file.Key.Step == step).Select(file => file.Value), tokenizer]);
            foreach (int old in _folders.Keys.Where(old => old <= step).ToArray())
            {
                _folders[old].Dispose();
                _folders.Remove(old);
            }

            foreach ((int Step, string Name) key in _files.Keys.Where(key => key.Step <= step).ToArray())
            {
                _files.Remove(key);
            }
        }
    }

    /// <summary>The steps after this one are undone: what has arrived of them counts no more.</summary>
    public void RollBack(int step)
    {
        lock (_gate)
        {
            foreach ((int Step, string Name) key in _files.Keys.Where(key => key.Step > step).ToArray())
            {
                _files.Remove(key);
            }
        }
    }
}
