// The gradient of a stage over its replicas: every holder sends its sum to every other and adds them all in the listed order.
// A share is named by what it holds (GradientShare.Name). It leaves as soon as the schedule thinks that it is complete, mostly
// before the orchestrator asks; a reduction that lists another name gets another transfer. Invariant: a transfer holds one state
// of the sum. The compute thread, which alone changes the sum, also reads it, and a transfer ends when _sumVersion has moved on.
// A share that nobody asked for is kept until its step is applied.
using System.Collections.Concurrent;
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerWork
{
    readonly ConcurrentDictionary<(PeerId From, int Step, ulong Name), BulkAssembly> _shares = new();
    readonly Dictionary<PeerId, (PeerLink Link, int Step, ulong Name)> _given = [];
    OrchestratorMessage.Reduce? _reduce;
    bool _isReduceSummed;
    PeerId[] _replicas = [];
    uint _shareSerial;
    volatile bool _hasShareCome;

    /// <summary>True once a replica's share came: what it allocates, once a step, is not a microbatch's. Set before that.</summary>
    public bool HasShareCome
    {
        get => _hasShareCome;
        set => _hasShareCome = value;
    }

    // counts what is asked of the compute thread that changes the gradient sum; written on the loop
    volatile int _sumVersion;

    /// <summary>The other holders of this stage.</summary>
    public void Placed(Placement placement) =>
        _replicas = placement.TryFind(_self, out Member self) ? [.. placement.Members.Where(member => member.Stage == self.Stage && member.Peer != _self).Select(member => member.Peer)] : [];

    // ---- giving ----

    /// <summary>Sends this peer's sum to the other holders of the stage under the name of what it holds.</summary>
    public void OfferShare(int step, ulong name)
    {
        foreach ((PeerId peer, PeerLink link) in _links())
        {
            GiveShare(peer, link, step, name);
        }
    }

    /// <summary>A replica's link came (back): it may miss this peer's share.</summary>
    public void LinkUp(PeerId peer, PeerLink link)
    {
        if (_reduce is { } reduce && Own(reduce) is { } own)
        {
            GiveShare(peer, link, reduce.Step, own.Name);
        }
    }

    GradientShare? Own(OrchestratorMessage.Reduce reduce) => reduce.Shares.FirstOrDefault(share => share.Peer == _self && share.Stage == _stageIndex);

    void GiveShare(PeerId peer, PeerLink link, int step, ulong name)
    {
        (PeerLink, int, ulong) gift = (link, step, name);
        if (_stage is not { } stage || !_replicas.Contains(peer) || link.Connection is null || (_given.TryGetValue(peer, out (PeerLink, int, ulong) last) && last == gift))
        {
            return;
        }

        _given[peer] = gift;
        MessageHeader header = new()
        {
            Run = RunNumber,
            Kind = MessageKind.PseudoGradient,
            Step = (uint)step,
            Stage = (ushort)_stageIndex,
            Epoch = _self.Mark() + (uint)_admittedEpoch,
            Attempt = (ushort)++_shareSerial,   // each transfer has an identity of its own: what was given and let go can be given again
            Tag = name,
        };
        _ = SendShare(peer, gift, header, stage, _sumVersion);
    }

    async Task SendShare(PeerId peer, (PeerLink Link, int, ulong) gift, MessageHeader header, StageWorker stage, int version)
    {
        if (await BulkTransfer.SendAsync(gift.Link, _pool, header, stage.Gradients.Bytes, (offset, slot, size) => ReadOwn(stage, version, offset, slot, size)))
        {
            return;
        }

        _loop.Add(LoopEvent.Of(() =>
        {
            if (_given.TryGetValue(peer, out (PeerLink, int, ulong) last) && last == gift)
            {
                _given.Remove(peer);
            }
        }));
    }

    // Whatever changes the sum is queued behind a new version: an equal one means that the sum is still what the name says.
    Task<bool> ReadOwn(StageWorker stage, int version, long offset, Slot slot, int size)
    {
        TaskCompletionSource<bool> read = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _queue.Add(new ComputeItem
        {
            Task = ComputeTask.Copy,
            Do = () =>
            {
                bool isSame = version == _sumVersion;
                if (isSame)
                {
                    stage.Gradients.ReadOwn(offset, slot.Span(size));
                }

                read.SetResult(isSame);
            },
        });
        return read.Task;
    }

    // ---- taking ----

    // On a transport's thread. A share may come before this peer hears of the reduction, but not before it holds the stage.
    void TakeShare(PeerId from, in MessageHeader header, Slot slot)
    {
        _hasShareCome = true;
        (PeerId, int, ulong) key = (from, (int)header.Step, header.Tag);
        if (!_shares.TryGetValue(key, out BulkAssembly? share))
        {
            if (header.Stage != _stageIndex || header.Step <= _appliedStep || _stage is not { } stage)
            {
                return;
            }

            share = _shares.GetOrAdd(key, _ => new BulkAssembly(stage.Gradients.Bytes));
        }

        if (share.Take((int)header.Part, slot.Span((int)header.PayloadBytes)))
        {
            _loop.Add(LoopEvent.Of(TryFinishReduce));
        }
    }

    // A sum that is still queued reads shares: they go on the compute thread, behind it.
    void ReleaseShares(int lastStep)
    {
        foreach ((PeerId From, int Step, ulong Name) key in _shares.Keys.Where(key => key.Step <= lastStep).ToArray())
        {
            if (_shares.TryRemove(key, out BulkAssembly? share))
            {
                _queue.Add(new ComputeItem { Task = ComputeTask.Copy, Do = share.Dispose });
            }
        }
    }

    // ---- reducing ----

    public void BeginReduce(OrchestratorMessage.Reduce reduce)
    {
        (_reduce, _isReduceSummed) = (reduce, false);
        if (Own(reduce) is { } own)
        {
            OfferShare(reduce.Step, own.Name);
        }

        TryFinishReduce();
    }

    public void AbandonReduce() => _reduce = null;

    unsafe void TryFinishReduce()
    {
        if (_reduce is not { } reduce || _isReduceSummed || _stage is not { } stage)
        {
            return;
        }

        List<BulkAssembly?> shares = [];
        foreach (GradientShare share in reduce.Shares.Where(share => share.Stage == _stageIndex))
        {
            BulkAssembly? part = null;
            if (share.Peer != _self && (!_shares.TryGetValue((share.Peer, reduce.Step, share.Name), out part) || !part.IsWhole))
            {
                return;
            }

            shares.Add(part);
        }

        _isReduceSummed = true;
        OnCompute(ComputeTask.Sum, () =>
        {
            stage.Gradients.BeginReduced();
            foreach (BulkAssembly? part in shares)
            {
                if (part is null)
                {
                    stage.Gradients.AddOwn();
                }
                else
                {
                    stage.Gradients.Add(part.Data);
                }
            }

            double[] squares = [.. stage.Gradients.ReducedSquares()];
            return () => _step(core => core.Schedule.HandleReduced(reduce.ReduceId, [.. squares], _effects()));
        });
    }
}
