// What arrives from neighbours, and the answer to it. A message is fenced before it is looked at:
//   sender unknown or from a former life -> REFUSED(StaleEpoch)      step behind ours -> REFUSED(StaleStep)
//   step or epoch ahead of ours -> BUSY(NotYet)                      no slot -> BUSY(NoSlot)
// A microbatch that is already here is DUPLICATE, and the newer sender becomes its upstream: a replacement finds the work
// of the replaced done. Late attempts are REFUSED(Superseded). Nothing is silently dropped except Answers of old attempts.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    /// <summary>A message of a neighbour; the payload of an ACCEPTED Forward or Gradient is the host's to keep.</summary>
    public void HandleMessage(PeerId from, in WorkMessage message, Instant now, PeerEffects effects)
    {
        Heard(from, now);
        switch (message.Kind)
        {
            case WorkKind.Status:
                TakeLoad(from, message, now);
                TryAgainNow(now);
                break;
            case WorkKind.Answer:
                TakeLoad(from, message, now);
                HandleAnswer(from, message, now, effects);
                break;
            case WorkKind.AllHanded:
                HandleAllHanded(from, message.Work.Step);
                break;
            default:
                if (TryFence(from, message, out Verdict verdict, out RefusalReason reason))
                    Receive(from, message, now, effects);
                else if (message.Kind is WorkKind.Forward or WorkKind.Gradient or WorkKind.Reattach)
                    Answer(from, message, verdict, reason, now, effects);
                break;
        }
        Advance(now, effects);
    }

    // A neighbour speaks of itself when it begins a step or frees a slot: what it turned away is offered again at once.
    void TryAgainNow(Instant now)
    {
        foreach (ref Entry entry in _entries.AsSpan())
        {
            if (entry.Hand == Leg.Pending)
                entry.HandAt = Instant.Earlier(entry.HandAt, now);
            if (entry.Return == Leg.Pending)
                entry.ReturnAt = Instant.Earlier(entry.ReturnAt, now);
        }
    }

    bool TryFence(PeerId from, in WorkMessage message, out Verdict verdict, out RefusalReason reason)
    {
        (verdict, reason) = (Verdict.Refused, RefusalReason.StaleEpoch);
        bool isKnown = _placement.TryFind(from, out Member sender);
        if (!isKnown && message.Work.Epoch > _placement.Epoch || !IsWorking)
        {
            (verdict, reason) = (Verdict.Busy, RefusalReason.NotYet);
            return false;
        }
        if (!isKnown || message.Work.Epoch < sender.AdmittedEpoch)
            return false;
        int expectedSender = message.Kind is WorkKind.Gradient or WorkKind.Handed or WorkKind.Adrift ? Stage + 1 : Stage - 1;
        if (message.Work.Stage != Stage || sender.Stage != expectedSender)
        {
            reason = RefusalReason.WrongStage;
            return false;
        }
        if (message.Work.Step != Step)
        {
            bool isOld = message.Work.Step < Step;
            verdict = isOld ? Verdict.Refused : Verdict.Busy;
            reason = isOld ? RefusalReason.StaleStep : RefusalReason.NotYet;
            return false;
        }
        if ((uint)message.Work.Microbatch >= (uint)_entries.Length)
        {
            reason = RefusalReason.Unknown;
            return false;
        }
        return true;
    }

    void Receive(PeerId from, in WorkMessage message, Instant now, PeerEffects effects)
    {
        ref Entry entry = ref _entries[message.Work.Microbatch];
        switch (message.Kind)
        {
            case WorkKind.Forward:
                ReceiveForward(ref entry, from, message, now, effects);
                break;
            case WorkKind.Reattach:
                ReceiveReattach(ref entry, from, message, now, effects);
                break;
            case WorkKind.Gradient:
                ReceiveGradient(ref entry, from, message, now, effects);
                break;
            case WorkKind.Handed when entry.Hand == Leg.Held && entry.Downstream == from:
                if (entry is { IsHandedOn: false, IsAskedAfter: false })
                    MeasureHop(from, now - entry.HeldAt);
                entry.IsHandedOn = true;
                entry.HeldAt = now;
                break;
            case WorkKind.Adrift:
                entry.Hint = from;
                break;
            case WorkKind.Cancel when entry.Upstream == from:
                Drop(ref entry, message.Work.Microbatch, effects);
                break;
            default:
                break;
        }
    }

    void ReceiveForward(ref Entry entry, PeerId from, in WorkMessage message, Instant now, PeerEffects effects)
    {
        if (entry.Own is not (Own.None or Own.Superseded))
        {
            bool isAdopted = TryAdopt(ref entry, from, message.Work.Attempt, now);
            Answer(from, message, isAdopted ? Verdict.Duplicate : Verdict.Refused, isAdopted ? RefusalReason.None : RefusalReason.Superseded, now, effects);
            return;
        }
        bool isTooEarly = IsSealed || _isOnePath && IsAheadOfOrder(message.Work.Microbatch);
        if (isTooEarly || _inFlight >= _slotCount)
        {
            Answer(from, message, Verdict.Busy, isTooEarly ? RefusalReason.NotYet : RefusalReason.NoSlot, now, effects);
            return;
        }
        Accept(ref entry, from, message.Work.Attempt);
        Answer(from, message, Verdict.Accepted, RefusalReason.None, now, effects);
        TellOtherFeeders(from, now, effects);
    }

    bool IsAheadOfOrder(int microbatch)
    {
        for (int m = 0; m < microbatch; m++)
        {
            if (_entries[m].Own is Own.None or Own.Superseded)
                return true;
        }
        return false;
    }

    void Accept(ref Entry entry, PeerId upstream, int attempt)
    {
        entry = new Entry { Own = Own.Queued, Upstream = upstream, Attempt = attempt, Hint = entry.Hint };
        _inFlight++;
    }

    static bool TryAdopt(ref Entry entry, PeerId from, int attempt, Instant now)
    {
        if (attempt < entry.Attempt && from != entry.Upstream && !entry.Upstream.IsNone)
            return false;
        // a gradient that is on its way to the asker, or waits there for its answer, is not sent a second time
        bool isReturning = entry.Return == Leg.Sent && entry.Upstream == from;
        entry.Upstream = from;
        entry.Attempt = Math.Max(entry.Attempt, attempt);
        if (entry.Own == Own.Done && !isReturning)
        {
            entry.Return = Leg.Pending;
            entry.ReturnAt = now;
        }
        return true;
    }

    void ReceiveReattach(ref Entry entry, PeerId from, in WorkMessage message, Instant now, PeerEffects effects)
    {
        if (entry.Own is Own.None or Own.Superseded)
        {
            Answer(from, message, Verdict.Refused, RefusalReason.Unknown, now, effects);
            return;
        }
        bool isAdopted = TryAdopt(ref entry, from, message.Work.Attempt, now);
        Answer(from, message, isAdopted ? Verdict.Accepted : Verdict.Refused, isAdopted ? RefusalReason.None : RefusalReason.Superseded, now, effects);
        if (isAdopted && entry.Own == Own.Forwarded && entry.Hand == Leg.Held)
            SendReattach(ref entry, message.Work.Microbatch, entry.Downstream, now, effects);
        else if (isAdopted && entry.Own is Own.GradientReady or Own.Backwarding or Own.Done)
            Send(from, new WorkMessage(WorkKind.Handed, Work(message.Work.Microbatch, Stage - 1, entry.Attempt)), effects);
    }

    void ReceiveGradient(ref Entry entry, PeerId from, in WorkMessage message, Instant now, PeerEffects effects)
    {
        Verdict verdict;
        RefusalReason reason = RefusalReason.None;
        if (entry.Own is Own.GradientReady or Own.Backwarding or Own.Done)
        {
            verdict = Verdict.Duplicate;
            Settle(ref entry, from, now);
        }
        else if (entry.Own == Own.Forwarded && !IsSealed)
        {
            verdict = Verdict.Accepted;
            if (entry.Downstream != from && entry.Hand is Leg.Sent or Leg.Held)
                Cancel(ref entry, message.Work.Microbatch, effects);
            Settle(ref entry, from, now);
            entry.Own = Own.GradientReady;
        }
        else
        {
            bool isComing = entry.Own is Own.Queued or Own.Forwarding or Own.Forwarded;
            verdict = isComing ? Verdict.Busy : Verdict.Refused;
            reason = isComing ? RefusalReason.NotYet : RefusalReason.Unknown;
        }
        Answer(from, message, verdict, reason, now, effects);
    }

    // The next stage has finished this microbatch: it lies with that peer, whoever we had asked.
    void Settle(ref Entry entry, PeerId from, Instant now)
    {
        if (entry.Downstream == from && entry is { Hand: Leg.Held, IsHandedOn: false, IsAskedAfter: false })
            MeasureHop(from, now - entry.HeldAt);
        NoLongerSent(entry);
        if (entry.Hand is Leg.Sent or Leg.Held)
            _pathfinder.HandleSettled(entry.Downstream);
        entry.Downstream = from;
        entry.Hand = Leg.Held;
        entry.IsHandedOn = true;
        entry.HeldAt = now;
    }

    // Given up here and further down, unless it is in the gradient sum (or on its way into it) already.
    void Drop(ref Entry entry, int microbatch, PeerEffects effects)
    {
        if (entry.Own is not (Own.Queued or Own.Forwarding or Own.Forwarded or Own.GradientReady) || entry.NeedsReplay)
            return;
        if (entry.Own == Own.Forwarding)
            _computingIsVoid = true;
        NoLongerSent(entry);
        if (entry.Hand is Leg.Sent or Leg.Held)
        {
            _pathfinder.HandleSettled(entry.Downstream);
            Cancel(ref entry, microbatch, effects);
        }
        entry = new Entry { Hint = entry.Hint };
        _inFlight--;
    }

    void Cancel(ref Entry entry, int microbatch, PeerEffects effects)
    {
        if (IsLinked(entry.Downstream))
            Send(entry.Downstream, new WorkMessage(WorkKind.Cancel, Work(microbatch, Stage + 1, entry.HandAttempt)), effects);
    }

    // Every answer tells the load as well, so that whoever sends to us knows it as of now.
    void Answer(PeerId to, in WorkMessage message, Verdict verdict, RefusalReason reason, Instant now, PeerEffects effects) =>
        Send(to, WithLoad(new WorkMessage(WorkKind.Answer, message.Work) { Answered = message.Kind, Verdict = verdict, Reason = reason }, now), effects);
}
