// What a peer has from and gives to the orchestrator: ids of granted microbatches, files of the newest checkpoint, and its
// stage's files of a checkpoint in the making. A peer reaches no disk but its own state directory:
//   checkpoints/step-N       files fetched to load from; kept until a newer one is, so that a restart fetches nothing twice
//   checkpoints/.step-N...   files of this stage on their way up
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerWork
{
    const long ManifestBytesMax = 64 << 20;
    static readonly TimeSpan _tryToSave = TimeSpan.FromSeconds(120);

    /// <summary>Short: who cannot load says why, and asks again later and later (PeerCore).</summary>
    static readonly TimeSpan _tryToLoad = TimeSpan.FromSeconds(3);
    static readonly TimeSpan _tryAtFirst = TimeSpan.FromMilliseconds(400);
    static readonly TimeSpan _tryAtLast = TimeSpan.FromSeconds(13);
    static readonly TimeSpan _fileWithin = TimeSpan.FromHours(2);

    readonly FileReceiver _files = new();
    readonly string _stateDirectory;
    uint _fileSerial = BitConverter.ToUInt32(RandomNumberGenerator.GetBytes(4));   // a former life's numbers are not used again

    /// <summary>The link to the orchestrator, or null while there is none.</summary>
    public PeerLink? Orchestrator { get; private set; }

    /// <summary>The link to the orchestrator is up (its files may come) or gone.</summary>
    public void OrchestratorIs(PeerLink? link)
    {
        if (Orchestrator is { Connection: { } connection } && link is null)
        {
            _files.Abandon(connection.RemoteNodeId.ToPeerId());
        }

        Orchestrator = link;
        for (int i = 0; link is not null && i < BulkGrants; i++)
        {
            link.Grant(Rent(BulkTransfer.PieceBytes), Lane.Bulk);
        }
    }

    /// <summary>Ids of a microbatch, from the orchestrator: they are put where they will travel, behind the code, in a slot that
    /// the loop takes over. Called on the transport's thread.</summary>
    public void ReceiveIds(in TokenPiece piece, ReadOnlySpan<byte> ids)
    {
        if ((uint)piece.Microbatch < (uint)_run.Config.Microbatches && piece.Offset >= 0 && piece.Offset + ids.Length <= Payload.IdsBytes)
        {
            Slot slot = Rent(Payload.ForwardBytes);
            ids.CopyTo(IdsOf(slot)[piece.Offset..]);
            _loop.Add(new LoopEvent(LoopEventKind.Ids) { Ids = piece, Slot = slot });
        }
    }

    Span<byte> IdsOf(Slot slot) => slot.Span(Payload.ForwardBytes)[Payload.CodeBytes..];

    /// <summary>Takes over the slot of <see cref="ReceiveIds"/>.</summary>
    public void TakeIds(in TokenPiece piece, Slot slot)
    {
        KeptMicrobatch? kept = _stageIndex != 0 || piece.Step <= _appliedStep ? null : Kept.Of(piece.Step, piece.Microbatch);
        if (kept is null || piece.Offset != kept.IdsBytes)
        {
            slot.Release();
            return;
        }

        if (kept.Output is null)
        {
            kept.Output = slot;
        }
        else
        {
            IdsOf(slot).Slice(piece.Offset, piece.Bytes).CopyTo(IdsOf(kept.Output)[piece.Offset..]);
            slot.Release();
        }

        kept.IdsBytes += piece.Bytes;
    }

    void RequireIds(in ComputeItem item)
    {
        if (item.IdsBytes != Payload.IdsBytes)
        {
            throw new InvalidOperationException($"microbatch {item.Microbatch} of step {item.Step} was granted with {item.IdsBytes} bytes of ids, it has {Payload.IdsBytes}");
        }
    }

    /// <summary>A piece of a file from the orchestrator.</summary>
    public void TakeFilePiece(PeerLink link, in MessageHeader header, Slot slot) =>
        _files.Take(link, link.Connection!.RemoteNodeId.ToPeerId(), header, slot);

    // ---- load ----

    async Task LoadCheckpoint(int step)
    {
        int life = _life;
        string folder = Path.Combine(_stateDirectory, "checkpoints", $"step-{step:D8}");
        string failure = await WhileWelcome(life, _tryToLoad, link => FetchCheckpoint(link, step, folder));
        if (failure.Length > 0)
        {
            PostLoaded(life, step, failure);
            return;
        }

        OnCompute(ComputeTask.Fill, () =>
        {
            try
            {
                using CheckpointReader checkpoint = CheckpointReader.Open(folder, GroupsOf(_stage!));
                RunCheckpoint.LoadTensors(checkpoint, _stage!.State);
            }
            catch (Exception error) when (error is IOException or InvalidDataException)
            {
                return () => Loaded(step, error.Message);
            }

            return () => Loaded(step, "");
        });
    }

    void PostLoaded(int life, int step, string failure) => PostIfAlive(life, () => Loaded(step, failure));

    /// <summary>Tries something with the orchestrator until it works, the state is given up, or patience ends: twice as long
    /// after each failure, as before while there is no link.</summary>
    async Task<string> WhileWelcome(int life, TimeSpan within, Func<PeerLink, Task> attempt)
    {
        string failure = "there is no link to the orchestrator";
        TimeSpan pause = _tryAtFirst;
        for (TimeSpan waited = TimeSpan.Zero; waited < within && life == _life; waited += pause)
        {
            try
            {
                if (Orchestrator is { Connection: not null } link)
                {
                    await attempt(link);
                    return "";
                }
            }
            catch (Exception error) when (error is IOException or TimeoutException or InvalidDataException or UnauthorizedAccessException)
            {
                failure = error.Message;
                pause = pause < _tryAtLast ? 2 * pause : pause;
                _log($"{failure}; tries again in {pause.TotalSeconds:F1} s");
            }

            await Task.Delay(pause);
        }

        return failure;
    }

    static string[] GroupsOf(StageWorker stage) => [.. stage.State.Select(RunCheckpoint.GroupOf).Distinct()];

    async Task FetchCheckpoint(PeerLink link, int step, string folder)
    {
        Directory.CreateDirectory(folder);
        foreach (string name in (string[])[CheckpointManifest.FileName, CheckpointManifest.HashFileName])
        {
            await Fetch(link, step, name, folder, ManifestBytesMax);
        }

        if (!CheckpointReader.TryReadManifest(folder, out CheckpointManifest? manifest, out string? why))
        {
            throw new InvalidDataException(why);
        }

        // this stage's groups, and what belongs to the checkpoint as a whole
        string[] groups = GroupsOf(_stage!);
        foreach (CheckpointFile file in manifest.Files.Where(file => Path.GetExtension(file.Name) != ".safetensors" || groups.Contains(Path.GetFileNameWithoutExtension(file.Name))))
        {
            string path = Path.Combine(folder, file.Name);
            if (!FileTransfer.IsPlainName(file.Name))
            {
                throw new InvalidDataException($"the checkpoint of step {step} names a file '{file.Name}'");
            }

            if (!File.Exists(path) || new FileInfo(path).Length != file.Bytes || HashOf(path) != file.Sha256)
            {
                await Fetch(link, step, file.Name, folder, file.Bytes);
            }
        }

        foreach (string old in Directory.GetDirectories(Path.GetDirectoryName(folder)!, "step-*").Where(old => old != folder))
        {
            Directory.Delete(old, recursive: true);
        }
    }

    static string HashOf(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }

    async Task Fetch(PeerLink link, int step, string name, string folder, long bytesMax)
    {
        uint serial = ++_fileSerial;
        TaskCompletionSource whole = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _files.Expect(link.Connection!.RemoteNodeId.ToPeerId(), serial, Path.Combine(folder, name), bytesMax, error =>
        {
            if (error is null)
            {
                whole.SetResult();
            }
            else
            {
                whole.SetException(error);
            }
        });
        Response response = await link.RequestAsync(new FileAsked(step, name, serial).Encode(), TimeSpan.FromSeconds(20));
        if (response.Status != 0)
        {
            throw new IOException($"the orchestrator does not send {name} of step {step}: {Encoding.UTF8.GetString(response.Body)}");
        }

        await whole.Task.WaitAsync(_fileWithin);
    }

    // ---- save ----

    /// <summary>Writes this stage's files as they are now, then sends them up while the work goes on.</summary>
    public void WriteCheckpoint(int step, Action<PeerMessage, JsonObject?> tell)
    {
        StageWorker stage = _stage!;
        (int index, int epoch, int life) = (_stageIndex, _admittedEpoch, _life);
        OnCompute(ComputeTask.Save, () =>
        {
            try
            {
                string folder = Path.Combine(_stateDirectory, "checkpoints", $".step-{step:D8}.up");
                Directory.CreateDirectory(folder);
                CheckpointWriter writer = new(folder, step);
                CheckpointFile[] files =
                [
                    .. stage.State.GroupBy(RunCheckpoint.GroupOf).Select(group => writer.WriteGroup(new TensorGroup(group.Key, [.. group.Select(RunCheckpoint.Source)]))),
                ];
                return () => _ = SendUp(writer, files, new FileOffered(epoch, step, index, "", 0, "", 0), life, tell, Fail);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                return () => Fail(error.Message);
            }
        });

        // people see it in the run's events: the orchestrator only misses a checkpoint
        void Fail(string reason)
        {
            string text = $"could not save its part of the checkpoint of step {step}: {reason}";
            _log(text);
            tell(new PeerMessage.Says(text), null);
        }
    }

    async Task SendUp(CheckpointWriter writer, CheckpointFile[] files, FileOffered offer, int life, Action<PeerMessage, JsonObject?> tell, Action<string> fail)
    {
        HashSet<string> sent = [];
        string failure = await WhileWelcome(life, _tryToSave, async link =>
        {
            foreach (CheckpointFile file in files.Where(file => !sent.Contains(file.Name)))
            {
                await Offer(link, writer.Folder, offer with { Name = file.Name, Bytes = file.Bytes, Sha256 = file.Sha256, Serial = ++_fileSerial });
                sent.Add(file.Name);
            }
        });
        writer.Dispose();
        if (failure.Length > 0)
        {
            _loop.Add(LoopEvent.Of(() => fail(failure)));
        }
        else
        {
            _loop.Add(LoopEvent.Of(() => tell(new PeerMessage.CheckpointWritten(offer.AdmittedEpoch, offer.Step, offer.Stage), new JsonObject { ["files"] = new JsonArray([.. files.Select(file => (JsonNode)file.Name)]) })));
        }
    }

    async Task Offer(PeerLink link, string folder, FileOffered offer)
    {
        Response response = await link.RequestAsync(offer.Encode(), TimeSpan.FromSeconds(20));
        if (response.Status != 0)
        {
            throw new IOException($"the orchestrator does not take {offer.Name} of step {offer.Step}: {Encoding.UTF8.GetString(response.Body)}");
        }

        if (!await FileTransfer.SendAsync(link, _pool, RunNumber, offer.Step, _self.Mark(), offer.Serial, Path.Combine(folder, offer.Name)))
        {
            throw new IOException($"{offer.Name} of step {offer.Step} was not taken whole");
        }
    }
}
