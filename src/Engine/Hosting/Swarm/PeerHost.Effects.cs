// Performs the effects of a peer's core, first to last.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerHost
{
    // what this process has allocated from the first compute of each step to its last contribution
    long _dataPathAllocated, _dataPathSince;
    bool _isOnDataPath;

    void Perform()
    {
        for (int i = 0; i < _effects.Count; i++)
        {
            PeerEffect effect = _effects[i];
            switch (effect.Kind)
            {
                case PeerEffectKind.Send:
                    Send(effect);
                    break;
                case PeerEffectKind.Compute:
                    Compute(effect);
                    break;
                case PeerEffectKind.TellContributed:
                    TellContributed(effect);
                    break;
                case PeerEffectKind.Tell:
                    Tell((PeerMessage)effect.Detail!);
                    break;
                case PeerEffectKind.TellHeartbeat:
                    TellHeartbeat(effect);
                    break;
                case PeerEffectKind.ResetGradients:
                    _work!.ResetGradients();
                    break;
                case PeerEffectKind.GiveShare:
                    _work!.GiveShare(effect.Peer, effect.Step, effect.ShareName);
                    break;
                case PeerEffectKind.Reduce:
                    _isOnDataPath = false;
                    _work!.BeginReduce((OrchestratorMessage.Reduce)effect.Detail!);
                    break;
                case PeerEffectKind.AbandonReduce:
                    _work!.AbandonReduce();
                    break;
                case PeerEffectKind.Apply:
                    _work!.Apply(effect.Step, effect.Scale);
                    break;
                case PeerEffectKind.Load:
                    _core!.Placement.TryFind(_self, out Member self);
                    _work!.Load(_core.Placement, self, effect.Step, effect.Peer);
                    break;
                case PeerEffectKind.WriteCheckpoint:
                    _work!.WriteCheckpoint(effect.Step, Tell);
                    break;
                case PeerEffectKind.ReleaseStep:
                    _work!.ReleaseStep(effect.Step);
                    break;
                case PeerEffectKind.Placed:
                    DialNeighbours((Placement)effect.Detail!);
                    break;
                case PeerEffectKind.Forget:
                    _options.Log($"forgets what it holds: {effect.Detail}");
                    _work!.Forget();
                    break;
                default:
                    throw new InvalidOperationException($"no performer for {effect.Kind}");
            }
        }
    }

    void TellFigures()
    {
        PeerCounts counts = _work!.Counts + _endedLinks + new PeerCounts { DataPathAllocatedBytes = _dataPathAllocated };
        foreach ((PeerId peer, PeerLink link) in _links)
        {
            counts += PeerCounts.Of(link, StagesAhead(peer));
        }

        Span<byte> wire = stackalloc byte[ControlCodec.FiguresBytes];
        ControlCodec.EncodeFigures(PeerTold.Of(_core!.Schedule, counts), wire);
        Tell(wire);
    }

    bool IsReplica(PeerId peer) => _core is { } core && core.Placement.TryFind(peer, out Member member) && core.Placement.TryFind(_self, out Member self) && member.Stage == self.Stage;

    int StagesAhead(PeerId peer) =>
        _core!.Placement.TryFind(peer, out Member member) && _core.Placement.TryFind(_self, out Member self) ? member.Stage - self.Stage : 0;

    void TellContributed(in PeerEffect effect)
    {
        Span<byte> wire = stackalloc byte[ControlCodec.ContributedBytes];
        ControlCodec.EncodeContributed(effect.Step, effect.Generation, effect.Microbatch, effect.Loss, wire);
        Tell(wire);
        long allocated = GC.GetTotalAllocatedBytes();
        if (!_work!.HasShareCome)
        {
            _dataPathAllocated += allocated - _dataPathSince;
        }

        _dataPathSince = allocated;
    }

    void TellHeartbeat(in PeerEffect effect)
    {
        TellFigures();
        Span<byte> wire = stackalloc byte[ControlCodec.HeartbeatBytes];
        ControlCodec.EncodeHeartbeat(effect.ServiceNanoseconds, effect.SilenceNanoseconds, effect.Open, BulkBytes(), wire);
        Tell(wire);
    }

    // shares and states come from replicas, pieces of checkpoints from the orchestrator
    long BulkBytes()
    {
        long bytes = _toOrchestrator?.Statistics.Received.ReceivedPayloadBytes ?? 0;
        foreach ((PeerId peer, PeerLink link) in _links)
        {
            bytes += IsReplica(peer) ? link.Statistics.Received.ReceivedPayloadBytes : 0;
        }

        return bytes;
    }

    void Compute(in PeerEffect effect)
    {
        if (!_isOnDataPath)
        {
            (_isOnDataPath, _dataPathSince, _work!.HasShareCome) = (true, GC.GetTotalAllocatedBytes(), false);
        }

        _work!.Compute(effect);
    }

    void Send(in PeerEffect effect)
    {
        if (!_links.TryGetValue(effect.Peer, out PeerLink? link) || link.Connection is null)
        {
            return;
        }

        WorkMessage message = effect.Message;
        if (message.Kind is not (WorkKind.Forward or WorkKind.Gradient))
        {
            Span<byte> wire = stackalloc byte[ControlCodec.WorkBytes];
            ControlCodec.Encode(message, wire);
            link.Tell(wire);
            return;
        }

        KeptMicrobatch kept = _work!.Kept.Of(message.Work.Step, message.Work.Microbatch);
        Slot? payload = message.Kind == WorkKind.Forward ? kept.Output : kept.InputGradient;
        if (message.Kind == WorkKind.Forward && message.Work.Attempt > 1)
        {
            _options.Log($"offers microbatch {message.Work.Microbatch} of step {message.Work.Step} again, to {effect.Peer.Short} (attempt {message.Work.Attempt})");
        }

        if (payload is not null)
        {
            _work.Sends.Begin(link, effect.Peer, message, _work.HeaderOf(message), payload);
        }
    }
}
