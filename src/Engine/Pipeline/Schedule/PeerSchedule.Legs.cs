// Handing on and sending back: the two legs of a microbatch that leave this peer, and the answers to them.
// A hand-over goes to the peer that already holds the microbatch if one is known (Reattach, no payload), else where the
// pathfinder says (Forward). Each new try raises the attempt, so that answers and results of older tries are told apart.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    void TryHand(ref Entry entry, int microbatch, Instant now, PeerEffects effects)
    {
        if (!entry.Hint.IsNone && IsHealthy(entry.Hint))
        {
            SendReattach(ref entry, microbatch, entry.Hint, now, effects);
            return;
        }
        if (!_pathfinder.TryPick(_settings.CodeBytes, _settings.MicrobatchCount, [], now, out PeerId peer))
        {
            // on one path it waits for room, and every answer tells what room there is: it is offered after whatever happens next
            entry.HandAt = _isOnePath ? now : now + _settings.RetryAfter;
            return;
        }
        Sent(ref entry, peer, now);
        entry.IsHandUnderWay = true;
        Send(peer, new WorkMessage(WorkKind.Forward, Work(microbatch, Stage + 1, entry.Attempt)), effects);
    }

    void SendReattach(ref Entry entry, int microbatch, PeerId peer, Instant now, PeerEffects effects)
    {
        Sent(ref entry, peer, now);
        entry.IsAskedAfter = true;
        Send(peer, new WorkMessage(WorkKind.Reattach, Work(microbatch, Stage + 1, entry.Attempt)), effects);
    }

    void Sent(ref Entry entry, PeerId peer, Instant now)
    {
        entry.ExpectedSeconds = _pathfinder.FinishSeconds(peer, _settings.CodeBytes, now);
        _pathfinder.HandleSent(peer, isNew: entry.Hand != Leg.Held || entry.Downstream != peer);
        entry.Downstream = peer;
        entry.Hand = Leg.Sent;
        entry.HandAttempt = entry.Attempt;
        entry.SentAt = now;
        (entry.IsHandedOn, entry.IsHandUnderWay, entry.IsAskedAfter) = (false, false, false);
    }

    // Before anything else becomes of a hand-over that is on its way.
    void NoLongerSent(in Entry entry)
    {
        if (entry.Hand == Leg.Sent)
            _pathfinder.HandleAnswered(entry.Downstream);
    }

    static void SetPending(ref Entry entry, Instant at)
    {
        entry.Hand = Leg.Pending;
        entry.HandAt = at;
    }

    // The microbatch is offered elsewhere, under a new attempt.
    void Reroute(ref Entry entry, Instant at)
    {
        NoLongerSent(entry);
        _pathfinder.HandleSettled(entry.Downstream);
        if (entry.Hint == entry.Downstream)
            entry.Hint = PeerId.None;
        entry.Downstream = PeerId.None;
        entry.Attempt++;
        SetPending(ref entry, at);
    }

    void TryReturn(ref Entry entry, int microbatch, Instant now, PeerEffects effects)
    {
        if (!IsLinked(entry.Upstream))
        {
            entry.ReturnAt = now + _settings.RetryAfter;
            return;
        }
        entry.Return = Leg.Sent;
        (entry.ReturnAt, entry.IsReturnUnderWay) = (now, true);
        Send(entry.Upstream, new WorkMessage(WorkKind.Gradient, Work(microbatch, Stage - 1, entry.Attempt)), effects);
    }

    void HandleAnswer(PeerId from, in WorkMessage answer, Instant now, PeerEffects effects)
    {
        if (!IsWorking || answer.Work.Step != Step || (uint)answer.Work.Microbatch >= (uint)_entries.Length)
            return;
        ref Entry entry = ref _entries[answer.Work.Microbatch];
        if (answer.Answered == WorkKind.Gradient)
            HandleReturnAnswer(ref entry, from, answer, now);
        else if (entry.Hand == Leg.Sent && entry.Downstream == from && entry.HandAttempt == answer.Work.Attempt)
            HandleHandAnswer(ref entry, from, answer, now, effects);
    }

    void HandleHandAnswer(ref Entry entry, PeerId from, in WorkMessage answer, Instant now, PeerEffects effects)
    {
        switch (answer.Verdict)
        {
            case Verdict.Accepted or Verdict.Duplicate:
                NoLongerSent(entry);
                entry.Hand = Leg.Held;
                entry.HeldAt = now;
                if (IsLinked(entry.Upstream) && entry.Own == Own.Forwarded)
                    Send(entry.Upstream, new WorkMessage(WorkKind.Handed, Work(answer.Work.Microbatch, Stage - 1, entry.Attempt)), effects);
                break;
            case Verdict.Busy:
                NoLongerSent(entry);
                _pathfinder.HandleBusy(from);
                _pathfinder.HandleSettled(from);
                SetPending(ref entry, answer.Reason == RefusalReason.NotYet ? now + _settings.RetryAfter : now);
                break;
            case Verdict.Refused when answer.Reason == RefusalReason.StaleStep:
                NoLongerSent(entry);
                entry.Hand = Leg.Idle;
                break;
            default:
                Reroute(ref entry, answer.Reason == RefusalReason.Unknown ? now : now + _settings.RetryAfter);
                break;
        }
    }

    void HandleReturnAnswer(ref Entry entry, PeerId from, in WorkMessage answer, Instant now)
    {
        if (entry.Return != Leg.Sent || entry.Upstream != from)
            return;
        if (answer.Verdict == Verdict.Busy)
        {
            entry.Return = Leg.Pending;
            entry.ReturnAt = now + _settings.RetryAfter;
        }
        else
        {
            entry.Return = answer.Verdict == Verdict.Refused ? Leg.Idle : Leg.Held;
        }
    }
}
