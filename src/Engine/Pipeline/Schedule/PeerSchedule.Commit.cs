// The step's end at one peer. Commands that touch the gradient sum wait until no compute is open.
//   Rebuild   the sum is cleared and made again from kept codes, of the given microbatches only
//   Reduce    if what is listed for us is exactly what we summed, the step is sealed: nothing enters the sum any more
//   Reopen    unsealed; our own sum was not touched by the reduction
//   Commit    the reduced sum is applied, the codes are let go, the next step begins
// Invariant: between Reduce and Reopen or Commit the own sum does not change.
using System.Collections.Immutable;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    readonly Queue<(int Step, int Attempt, int Microbatch)> _waitingGrants = new();
    OrchestratorMessage.Rebuild? _pendingRebuild;
    OrchestratorMessage.Reduce? _pendingReduce;
    OrchestratorMessage.Reduce? _waitingReduce;
    long _sealedId;
    ulong _sealedShare;
    long _reducedId;
    bool _isApplying;

    public bool IsSealed => _sealedId != 0;

    /// <summary>A new microbatch for a holder of stage 0; one of the step after this one waits for the commit.</summary>
    public void HandleGrant(int step, int attempt, int microbatch, Instant now, PeerEffects effects)
    {
        if (step > Step || !IsWorking)
        {
            _waitingGrants.Enqueue((step, attempt, microbatch));
            return;
        }
        ref Entry entry = ref _entries[microbatch];
        if (step < Step || entry.Own is not (Own.None or Own.Superseded))
            return;
        entry.Attempt = attempt;
        _granted.Add(microbatch);
        Advance(now, effects);
    }

    // What was granted is taken up as slots become free, lowest first.
    void TakeUpGrants()
    {
        for (int m = _granted.Next(0); m >= 0 && _inFlight < _slotCount; m = _granted.Next(m + 1))
        {
            _granted.Remove(m);
            Accept(ref _entries[m], PeerId.None, _entries[m].Attempt);
        }
    }

    /// <summary>The orchestrator misses this microbatch at the next stage.</summary>
    public void HandleRecheck(OrchestratorMessage.Recheck recheck, Instant now, PeerEffects effects)
    {
        if (recheck.Step != Step || IsLastStage)
            return;
        ref Entry entry = ref _entries[recheck.Microbatch];
        // what is missed of this stage while its gradient is here is only this peer's word, soon or on its way
        bool isHere = recheck.Stage == Stage && entry.Own is Own.GradientReady or Own.Backwarding or Own.Done;
        if (isHere || entry.Own is not (Own.Forwarded or Own.GradientReady or Own.Backwarding or Own.Done) || entry.Hand is Leg.Pending or Leg.Sent)
            return;
        entry.Attempt++;
        if (IsHealthy(entry.Downstream))
            SendReattach(ref entry, recheck.Microbatch, entry.Downstream, now, effects);
        else
            Reroute(ref entry, now);
        Advance(now, effects);
    }

    public void HandleRebuild(OrchestratorMessage.Rebuild rebuild, Instant now, PeerEffects effects)
    {
        if (rebuild.Step != Step || rebuild.Generation <= Generation)
            return;
        _pendingRebuild = rebuild;
        Advance(now, effects);
    }

    public void HandleReduce(OrchestratorMessage.Reduce reduce, Instant now, PeerEffects effects)
    {
        if (reduce.Step == Step + 1)
            _waitingReduce = reduce;
        if (reduce.Step != Step || reduce.ReduceId <= _sealedId)
            return;
        if (IsSealed)
            Unseal(effects);
        _pendingReduce = reduce;
        Advance(now, effects);
    }

    void RunDeferred(Instant now, PeerEffects effects)
    {
        if (_pendingRebuild is { } rebuild)
        {
            _pendingRebuild = null;
            Rebuild(rebuild, effects);
        }
        if (_pendingReduce is { } reduce)
        {
            _pendingReduce = null;
            BeginReduce(reduce, now, effects);
        }
    }

    void Rebuild(OrchestratorMessage.Rebuild rebuild, PeerEffects effects)
    {
        Generation = rebuild.Generation;
        for (int m = 0; m < _entries.Length; m++)
        {
            ref Entry entry = ref _entries[m];
            if (!_contributed.Contains(m) && !entry.NeedsReplay)
            {
                Drop(ref entry, m, effects);
                continue;
            }
            bool isKept = rebuild.Keep.Contains(m);
            entry.Own = isKept ? Own.GradientReady : Own.Superseded;
            entry.NeedsReplay = isKept;
        }
        _contributed.Clear();
        effects.Add(new PeerEffect(PeerEffectKind.ResetGradients) { Step = Step, Generation = Generation });
    }

    void BeginReduce(OrchestratorMessage.Reduce reduce, Instant now, PeerEffects effects)
    {
        GradientShare? own = null;
        foreach (GradientShare share in reduce.Shares)
            own = share.Peer == _self ? share : own;
        bool isAsListed = own is null ? _contributed.Count == 0 : own.Generation == Generation && own.Microbatches.SameAs(_contributed);
        if (!isAsListed)
        {
            Tell(new PeerMessage.ReduceRefused(Step, reduce.ReduceId, Report()), effects);
            return;
        }
        _sealedId = reduce.ReduceId;
        _sealedShare = own?.Name ?? 0;
        TellStatus(now, effects);
        foreach (Member member in _placement.Members)
            GiveSealedShare(member, effects);
        effects.Add(new PeerEffect(PeerEffectKind.Reduce) { Step = Step, ReduceId = reduce.ReduceId, Detail = reduce });
    }

    void GiveSealedShare(in Member replica, PeerEffects effects)
    {
        if (_sealedShare != 0)
            GiveShare(replica, _sealedShare, effects);
    }

    /// <summary>The host summed the shares. TensorSquares: one sum of squares per tensor of this stage, canonical order.</summary>
    public void HandleReduced(long reduceId, ImmutableArray<double> tensorSquares, PeerEffects effects)
    {
        if (reduceId != _sealedId)
            return;
        _reducedId = reduceId;
        Tell(new PeerMessage.Reduced(Step, reduceId, tensorSquares), effects);
    }

    public void HandleReopen(OrchestratorMessage.Reopen reopen, Instant now, PeerEffects effects)
    {
        if (_waitingReduce?.ReduceId <= reopen.ReduceId)
            _waitingReduce = null;
        if (reopen.Step != Step)
            return;
        if (_pendingReduce?.ReduceId <= reopen.ReduceId)
            _pendingReduce = null;
        if (IsSealed && _sealedId <= reopen.ReduceId)
            Unseal(effects);
        TellStatus(now, effects);
        Advance(now, effects);
    }

    void Unseal(PeerEffects effects)
    {
        effects.Add(new PeerEffect(PeerEffectKind.AbandonReduce) { Step = Step, ReduceId = _sealedId });
        _sealedId = 0;
        _sealedShare = 0;
        _reducedId = 0;
    }

    /// <summary>Applies a commit of this step. False: the reduced sum is not here, so this peer cannot follow the run.</summary>
    public bool TryCommit(OrchestratorMessage.Commit commit, PeerEffects effects)
    {
        if (commit.Step < Step || _isApplying)
            return true;
        if (commit.Step > Step || _reducedId == 0)
            return false;
        _isApplying = true;
        effects.Add(new PeerEffect(PeerEffectKind.Apply) { Step = Step, Scale = commit.Scale, ReduceId = _reducedId });
        if (commit.Checkpoint)
            effects.Add(new PeerEffect(PeerEffectKind.WriteCheckpoint) { Step = Step });
        return true;
    }

    /// <summary>The optimizer step is done: the step's codes go, the next step begins.</summary>
    public void HandleApplied(int step, ulong stateHash, Instant now, PeerEffects effects)
    {
        if (!_isApplying || step != Step)
            return;
        _isApplying = false;
        Tell(new PeerMessage.Applied(Step, stateHash), effects);
        effects.Add(new PeerEffect(PeerEffectKind.ReleaseStep) { Step = Step });
        Begin(Stage, Step + 1, now, effects);
        for (int waiting = _waitingGrants.Count; waiting > 0; waiting--)
        {
            (int grantedStep, int attempt, int microbatch) = _waitingGrants.Dequeue();
            HandleGrant(grantedStep, attempt, microbatch, now, effects);
        }
        if (_waitingReduce is { } reduce)
        {
            _waitingReduce = null;
            HandleReduce(reduce, now, effects);
        }
    }

    /// <summary>Where this peer stands in its uncommitted step.</summary>
    public StepReport Report()
    {
        var held = new MicrobatchSet(_entries.Length);
        var losses = ImmutableArray.CreateBuilder<double>(IsLastStage ? _entries.Length : 0);
        for (int m = 0; m < _entries.Length; m++)
        {
            if (_entries[m].Own is not (Own.None or Own.Superseded) || _granted.Contains(m))
                held.Add(m);
            if (IsLastStage)
                losses.Add(_entries[m].Loss);
        }
        return new StepReport(Step, Generation, _contributed.Copy(), losses.ToImmutable(), held);
    }

    static void Tell(PeerMessage message, PeerEffects effects) =>
        effects.Add(new PeerEffect(PeerEffectKind.Tell) { Detail = message });
}
