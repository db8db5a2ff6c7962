// What reaches the loop, one case each. The path of a microbatch is plain values from the transport's thread to the core and
// from the core to the compute thread: nothing is allocated on it.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerHost
{
    void Happened(in LoopEvent what)
    {
        what.Quota?.Heard();
        switch (what.Kind)
        {
            case LoopEventKind.Do:
                what.Do!();
                return;
            case LoopEventKind.Delivered:
                Delivered(what.Link!, what.Peer, what.Message, what.Slot!);
                return;
            case LoopEventKind.Ids:
                _work!.TakeIds(what.Ids, what.Slot!);
                return;
        }

        if (_core is null)
        {
            return;
        }

        _effects.Clear();
        WorkId work = what.Message.Work;
        switch (what.Kind)
        {
            case LoopEventKind.Work:
                _core.Schedule.HandleMessage(what.Peer, what.Message, Now, _effects);
                break;
            case LoopEventKind.Arrived:
                _core.Schedule.HandleArrived(what.Peer, what.Message, Now);
                return;
            case LoopEventKind.Computed:
                _core.Schedule.HandleComputed(what.Compute, work.Step, work.Microbatch, what.Loss, Now, _effects);
                break;
            case LoopEventKind.GivenOut:
                _core.HandleGivenOut(work.Step, Now, _effects);
                break;
            case LoopEventKind.Granted:
                if (work.Attempt > 1)
                {
                    _options.Log($"is given microbatch {work.Microbatch} of step {work.Step} again (attempt {work.Attempt})");
                }

                _core.HandleGranted(work.Step, work.Attempt, work.Microbatch, Now, _effects);
                break;
            case LoopEventKind.Pulse:
                _core.HandlePulse(Now);
                break;
            default:
                throw new InvalidOperationException($"nobody handles {what.Kind}");
        }

        Perform();
    }

    /// <summary>A payload arrived whole from a peer: the core decides; an accepted one is kept, any other goes back.</summary>
    void Delivered(PeerLink link, PeerId from, in WorkMessage message, Slot slot)
    {
        if (_core is null)
        {
            slot.Release();
            return;
        }

        _effects.Clear();
        _core.Schedule.HandleMessage(from, message, Now, _effects);
        if (!IsAccepted(from, message))
        {
            slot.Release();
        }
        else if (message.Kind == WorkKind.Forward)
        {
            _work!.Kept.Of(message.Work.Step, message.Work.Microbatch).Input = slot;
        }
        else
        {
            _work!.Kept.Of(message.Work.Step, message.Work.Microbatch).OutputGradient = slot;
        }

        _work!.GrantOne(link, message.Kind == WorkKind.Forward ? Lane.Forward : Lane.Backward);
        Perform();
    }

    bool IsAccepted(PeerId from, in WorkMessage message)
    {
        for (int i = 0; i < _effects.Count; i++)
        {
            ref readonly PeerEffect effect = ref _effects[i];
            if (effect.Kind == PeerEffectKind.Send && effect.Peer == from && effect.Message.Kind == WorkKind.Answer
                && effect.Message.Work == message.Work && effect.Message.Answered == message.Kind && effect.Message.Verdict == Control.Verdict.Accepted)
            {
                return true;
            }
        }

        return false;
    }
}
