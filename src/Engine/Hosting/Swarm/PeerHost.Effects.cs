// Performs the effects of a peer's core, first to last.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerHost
{
    long _codeBytes, _gradientBytes;

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
                    _work!.Compute(effect);
                    break;
                case PeerEffectKind.TellContributed:
                    Tell(new PeerMessage.Contributed(effect.Step, effect.Generation, effect.Microbatch, effect.Loss));
                    break;
                case PeerEffectKind.Tell:
                    Tell((PeerMessage)effect.Detail!, effect.Detail is PeerMessage.Heartbeat or PeerMessage.Applied ? Figures() : null);
                    break;
                case PeerEffectKind.ResetGradients:
                    _work!.ResetGradients();
                    break;
                case PeerEffectKind.Reduce:
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
                    _work!.Placed((Placement)effect.Detail!);
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

    System.Text.Json.Nodes.JsonObject Figures()
    {
        PeerCounts counts = _work!.Counts + _endedLinks + new PeerCounts { CodeBytes = Interlocked.Read(ref _codeBytes), GradientBytes = Interlocked.Read(ref _gradientBytes) };
        foreach ((PeerId peer, PeerLink link) in _links)
        {
            counts += PeerCounts.Of(link, StagesAhead(peer));
        }

        return PeerFigures.Tell(_core!.Schedule, counts);
    }

    int StagesAhead(PeerId peer) =>
        _core!.Placement.TryFind(peer, out Member member) && _core.Placement.TryFind(_self, out Member self) ? member.Stage - self.Stage : 0;

    void Send(in PeerEffect effect)
    {
        if (!_links.TryGetValue(effect.Peer, out PeerLink? link) || link.Connection is null)
        {
            return;
        }

        WorkMessage message = effect.Message;
        if (message.Kind is not (WorkKind.Forward or WorkKind.Gradient))
        {
            link.Tell(ControlCodec.Encode(message));
            return;
        }

        KeptMicrobatch kept = _work!.Kept.Of(message.Work.Step, message.Work.Microbatch);
        HeldSlot? payload = message.Kind == WorkKind.Forward ? kept.Output : kept.InputGradient;
        if (message.Kind == WorkKind.Forward && message.Work.Attempt > 1)
        {
            _options.Log($"offers microbatch {message.Work.Microbatch} of step {message.Work.Step} again, to {effect.Peer.Short} (attempt {message.Work.Attempt})");
        }

        if (payload is not null)
        {
            _ = SendPayload(link, _work.HeaderOf(message), payload);
        }
    }

    async Task SendPayload(PeerLink link, MessageHeader header, HeldSlot payload)
    {
        payload.Hold();
        try
        {
            Answer answer = await link.SendAsync(header, payload.Slot);
            if (answer.Kind == AnswerKind.Accepted)
            {
                Interlocked.Add(ref header.Kind == MessageKind.Code ? ref _codeBytes : ref _gradientBytes, (long)header.PayloadBytes);
            }
        }
        finally
        {
            payload.Release();
        }
    }

    /// <summary>A payload arrived whole from a peer: the core decides; an accepted one is kept, any other goes back.</summary>
    void Delivered(PeerLink link, PeerId from, in MessageHeader header, Slot slot)
    {
        WorkMessage message = PeerWork.MessageOf(header);
        HeldSlot held = new(slot);
        bool isAccepted = false;
        if (_core is not null)
        {
            _effects.Clear();
            _core.Schedule.HandleMessage(from, message, Now, _effects);
            for (int i = 0; i < _effects.Count && !isAccepted; i++)
            {
                PeerEffect effect = _effects[i];
                isAccepted = effect.Kind == PeerEffectKind.Send && effect.Peer == from && effect.Message.Kind == WorkKind.Answer
                    && effect.Message.Work == message.Work && effect.Message.Answered == message.Kind && effect.Message.Verdict == Control.Verdict.Accepted;
            }

            if (isAccepted)
            {
                KeptMicrobatch kept = _work!.Kept.Of(message.Work.Step, message.Work.Microbatch);
                if (message.Kind == WorkKind.Forward)
                {
                    kept.Input = held;
                }
                else
                {
                    kept.OutputGradient = held;
                }
            }

            _work!.GrantOne(link, header.Lane);
            Perform();
        }

        if (!isAccepted)
        {
            held.Release();
        }
    }
}
