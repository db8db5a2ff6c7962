// The gradient of a stage over its replicas: every holder sends its sum to every other and adds them all in the listed order.
// A share is named by what it holds (GradientShare.Name). It leaves as soon as the schedule thinks that it is complete, mostly
// before the orchestrator asks; a reduction that lists another name gets another transfer. Invariant: a transfer holds one state
// of the sum. The compute thread, which alone changes the sum, also reads it, and a transfer ends when _sumVersion has moved on.
// Of each replica the newest share is kept, whether asked for or not, until its step is applied: a sum never goes back.
using System.Diagnostics.CodeAnalysis;
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerWork
{
    readonly Lock _sharesGate = new();
    readonly Dictionary<PeerId, (ShareTransfer Transfer, BulkAssembly Parts)> _shares = [];
    readonly Dictionary<PeerId, (PeerLink Link, int Step, ulong Name)> _given = [];
    OrchestratorMessage.Reduce? _reduce;
    bool _isReduceSummed;
    long _shareBytes;   // under _sharesGate; 0 while this peer holds no stage
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

    // ---- giving ----

    /// <summary>Sends this peer's sum to a replica under the name of what it holds, once over a connection.</summary>
    public void GiveShare(PeerId peer, int step, ulong name)
    {
        if (_stage is not { } stage || !_links().TryGetValue(peer, out PeerLink? link) || link.Connection is null)
        {
            return;
        }

        (PeerLink, int, ulong) gift = (link, step, name);
        if (_given.TryGetValue(peer, out (PeerLink, int, ulong) last) && last == gift)
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
            Task = ComputeTask.Share,
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
    bool TakeShare(PeerId from, in MessageHeader header, Slot slot)
    {
        _hasShareCome = true;
        ShareTransfer transfer = new((int)(header.Epoch - from.Mark()), (int)header.Step, header.Tag, header.Attempt);
        (ShareTransfer Transfer, BulkAssembly Parts) share;
        lock (_sharesGate)
        {
            if (_shareBytes == 0 || header.Stage != _stageIndex || transfer.Step <= _appliedStep)
            {
                return false;
            }

            bool isKnown = _shares.TryGetValue(from, out share);
            if (!isKnown || share.Transfer.IsFollowedBy(transfer))
            {
                LetGo(share.Parts);
                _shares[from] = share = (transfer, new BulkAssembly(_shareBytes));
            }
            else if (!share.Transfer.IsOf(transfer.Step, transfer.Name))
            {
                return false;   // a straggler
            }
        }

        if (share.Parts.Take((int)header.Part, slot.Span((int)header.PayloadBytes)))
        {
            _loop.Add(LoopEvent.Of(TryFinishReduce));
        }

        return true;
    }

    void HoldShares(long bytes)
    {
        lock (_sharesGate)
        {
            _shareBytes = bytes;
        }
    }

    void ReleaseShares(int lastStep)
    {
        lock (_sharesGate)
        {
            foreach ((PeerId from, (ShareTransfer transfer, BulkAssembly parts)) in _shares)
            {
                if (transfer.Step <= lastStep)
                {
                    _shares.Remove(from);   // a dictionary may lose entries while it is walked
                    LetGo(parts);
                }
            }
        }
    }

    // A sum that is asked for on the loop and still queued reads shares: they go on the compute thread, behind it.
    void LetGo(BulkAssembly? parts)
    {
        if (parts is not null)
        {
            _loop.Add(LoopEvent.Of(() => _queue.Add(new ComputeItem { Task = ComputeTask.Share, Do = parts.Dispose })));
        }
    }

    // ---- reducing ----

    public void BeginReduce(OrchestratorMessage.Reduce reduce)
    {
        (_reduce, _isReduceSummed) = (reduce, false);
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
            if (share.Peer != _self && !TryFindWhole(share.Peer, reduce.Step, share.Name, out part))
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

    bool TryFindWhole(PeerId from, int step, ulong name, [NotNullWhen(true)] out BulkAssembly? parts)
    {
        lock (_sharesGate)
        {
            parts = _shares.TryGetValue(from, out (ShareTransfer Transfer, BulkAssembly Parts) share) && share.Transfer.IsOf(step, name) && share.Parts.IsWhole ? share.Parts : null;
        }

        return parts is not null;
    }
}
