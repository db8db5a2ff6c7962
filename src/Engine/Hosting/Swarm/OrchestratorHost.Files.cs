// What the orchestrator hands out and takes in beside messages: ids of granted microbatches, files of the newest checkpoint
// for newcomers, files of the checkpoint in the making from the stages.
using System.Text;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class OrchestratorHost
{
    const int GrantsPerPeer = 2;
    const int SlotsSpare = 16;

    readonly CheckpointInbox _inbox;
    readonly FileReceiver _receiver = new();
    readonly TokenFeed _tokens;
    readonly PinnedPool _pool;

    /// <summary>SHA-256 of the training data's token shards.</summary>
    public string DataHash => _tokens.DataHash;

    // before the grant, on the same lane: they are there when it is
    void SendTokens(PeerLink link, OrchestratorMessage.Grant grant)
    {
        foreach (int microbatch in grant.Microbatches)
        {
            foreach (byte[] piece in _tokens.Pieces(grant.Step, microbatch))
            {
                link.Tell(piece);
            }
        }
    }

    void GiveFile(PeerLink link, ulong id, PeerId peer, FileAsked asked)
    {
        if (_core.Placement.TryFind(peer, out _))
        {
            _ = Task.Run(() => SendFile(link, id, asked));
        }
        else
        {
            link.Respond(id, 1, Encoding.UTF8.GetBytes($"{peer.Short} is no member of this run: its checkpoints are not for it"));
        }
    }

    async Task SendFile(PeerLink link, ulong id, FileAsked asked)
    {
        try
        {
            string folder = _checkpoints.Latest ?? throw new InvalidDataException("there is no checkpoint");
            if (!CheckpointReader.TryReadManifest(folder, out CheckpointManifest? manifest, out string? why))
            {
                throw new InvalidDataException(why);
            }

            if (manifest.State.Step != asked.Step || !FileTransfer.IsPlainName(asked.Name))
            {
                throw new InvalidDataException($"the newest checkpoint is of step {manifest.State.Step}, asked for is '{asked.Name}' of step {asked.Step}");
            }

            string path = Path.Combine(folder, asked.Name);
            long bytes = new FileInfo(path).Length;
            link.Respond(id, 0, BitConverter.GetBytes(bytes));
            await FileTransfer.SendAsync(link, _pool, _linkOptions.Run, asked.Step, sender: 0, asked.Serial, path);
        }
        catch (Exception error) when (error is IOException or InvalidDataException)
        {
            link.Respond(id, 1, Encoding.UTF8.GetBytes(error.Message));
        }
    }

    void TakeOffer(PeerLink link, ulong id, PeerId peer, FileOffered offer, ref bool isGranted)
    {
        string refusal = RefusalOf(peer, offer);
        if (refusal.Length == 0 && !isGranted)
        {
            isGranted = TryGrant(link);
            refusal = isGranted ? "" : "too many stages send their files at once; try again";
        }

        if (refusal.Length > 0)
        {
            link.Respond(id, 1, Encoding.UTF8.GetBytes(refusal));
            return;
        }

        _receiver.Expect(peer, offer.Serial, _inbox.PathFor(offer.Step, offer.Name), offer.Bytes, error => Entered(offer, error));
        link.Respond(id, 0, []);
    }

    string RefusalOf(PeerId peer, FileOffered offer)
    {
        long bytesMax = 2 * RunSegments.StateBytes(_run.Model);
        bool isHolder = _core.Placement.TryFind(peer, out Member member) && member.Stage == offer.Stage && member.AdmittedEpoch == offer.AdmittedEpoch;
        return !isHolder ? $"{peer.Short} does not hold stage {offer.Stage} since epoch {offer.AdmittedEpoch}"
            : offer.Step <= _core.CheckpointStep || offer.Step > _core.CommittedStep
                ? $"a checkpoint of step {offer.Step} is not wanted: step {_core.CommittedStep} is committed, the newest checkpoint is of step {_core.CheckpointStep}"
            : !FileTransfer.IsPlainName(offer.Name) || offer.Bytes <= 0 || offer.Bytes > bytesMax
                ? $"'{offer.Name}' of {offer.Bytes} bytes is no file of this model's checkpoint (at most {bytesMax} bytes)"
            : "";
    }

    bool TryGrant(PeerLink link)
    {
        for (int i = 0; i < GrantsPerPeer; i++)
        {
            if (!_pool.TryRent(BulkTransfer.PieceBytes, out Slot slot))
            {
                return i > 0;
            }

            link.Grant(slot, Lane.Bulk);
        }

        return true;
    }

    // On the receiver's thread, in the order in which pieces came: what the stage says afterwards finds the file entered.
    void Entered(FileOffered offer, IOException? error)
    {
        string mistake = error is null ? _inbox.Enter(offer) : $"{offer.Name} of the checkpoint of step {offer.Step} did not arrive: {error.Message}";
        if (mistake.Length > 0)
        {
            _events.Add(() => _whenNoted?.Invoke(mistake));
        }
    }
}
