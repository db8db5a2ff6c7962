// The steps: grants, contributions, reduction, commit.
//   Running   grants flow to stage 0; contributions fill the table; covered twice somewhere -> Rebuild
//   exact     -> Reduce (an id that grows with term and try) -> every holder says Reduced
//   commit    norm = sqrt(sum of tensor squares, stage by stage, tensor by tensor), scale = min(1, clip/norm);
//             durable first, then told. Peers apply and say so; the next step begins at once.
// A holder lost during Reduce: if its sum had reached every other holder of its stage nothing is lost, else Reopen.
using System.Collections.Immutable;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Control;

sealed partial class Orchestrator
{
    const int UnmeasuredWindow = 2;

    readonly SortedDictionary<PeerId, ImmutableArray<double>> _reducedSums = [];
    /// <summary>Gone during the open reduction; their sums count in it, and only in it.</summary>
    readonly HashSet<PeerId> _departed = [];
    readonly SortedDictionary<int, HashSet<int>> _checkpointStages = [];
    readonly SortedDictionary<int, (PeerId Peer, int AdmittedEpoch)> _checkpointWriters = [];
    int _checkpointAsked;
    Instant _checkpointAskedAt;
    double _lastScale, _lastNorm;
    ImmutableArray<GradientShare> _shares = [];
    long _reduceId;
    int _reduceTries;
    int _givenOutStep;
    Instant _progressAt, _stepBeganAt;
    TimeSpan _stepLasted, _reduceLasted;
    Instant _reduceBeganAt;

    /// <summary>The members that have the state are the holders of the next step.</summary>
    void BeginStep(Instant now)
    {
        if (_members.Values.Any(m => Placement.TryFind(m.Profile.Peer, out Member placed) && placed.State != m.State))
            Publish();
        if (_table.Step != CommittedStep + 1)
            _table = NewTable(CommittedStep + 1);
        (_progressAt, _stepBeganAt) = (now, now);
        SetPhase(RunPhase.Running, "");
        ReleaseDrained(now);
        if (Phase == RunPhase.Running)
            SettleStep(now);
    }

    void ResumeStep(Instant now)
    {
        if (CommittedStep >= _settings.StepCount)
        {
            SetPhase(RunPhase.Finishing, "");
            AskForCheckpoint();
            FinishIfApplied();
            return;
        }
        (_progressAt, _stepBeganAt) = (now, now);
        bool isUntouched = _members.Keys.All(p => !_table.HasShare(p) && _table.Outstanding(p) == 0);
        if (isUntouched)
        {
            BeginHandover(now);
            return;
        }
        SetPhase(RunPhase.Running, "");
        SettleStep(now);
    }

    void BeginHandover(Instant now)
    {
        SetPhase(RunPhase.Handover, "");
        foreach (PeerId peer in _members.Where(m => !m.Value.HasState).Select(m => m.Key).ToArray())
            HandOver(peer, now);
        SettleStep(now);
    }

    void HandOver(PeerId peer, Instant now)
    {
        int stage = _members[peer].Stage;
        PeerId source = _members.FirstOrDefault(m => m.Value.Stage == stage && m.Value.HasState).Key;
        if (!source.IsNone)
            LoadFrom(peer, source, now);
    }

    void SettleStep(Instant now)
    {
        switch (Phase)
        {
            case RunPhase.Handover when _members.Values.All(m => m.HasState):
                BeginStep(now);
                break;
            case RunPhase.Running:
                GrantMore(now);
                FinishIfCovered(now);
                break;
            case RunPhase.Reducing:
                CommitIfReduced(now);
                break;
            case RunPhase.Finishing:
                AskForCheckpoint();
                FinishIfApplied();
                break;
            default:
                break;
        }
    }

    // All that is left of the step is dealt in thought, each microbatch to the holder of stage 0 that would end first with it; of
    // its hand a holder gets what its window allows, the slowest first: it must begin early to end with the others, and the
    // lowest numbers go first everywhere. Nobody knows how slow an unmeasured holder is: where there is a choice it gets little.
    void GrantMore(Instant now)
    {
        int ungranted = _table.UngrantedCount;
        if (ungranted == 0 && _givenOutStep == _table.Step)
            return;
        PeerId[] holders = Placement.Routable(0);
        if (holders.Any(p => !IsDoubted(p, now)))
            holders = [.. holders.Where(p => !IsDoubted(p, now))];
        double[] told = [.. holders.Select(p => _members.TryGetValue(p, out MemberInfo? m) ? (double)m.ServiceNanoseconds : 0)];
        double usual = told.Where(s => s > 0).DefaultIfEmpty(1).Min();
        double[] service = [.. told.Select(s => s > 0 ? s : usual)];
        int[] outstanding = [.. holders.Select(_table.Outstanding)];
        int[] hand = Deal(ungranted, outstanding, service);
        int next = _table.NextUngranted(0);
        foreach (int i in Enumerable.Range(0, holders.Length).OrderByDescending(i => service[i]))
        {
            int window = told[i] > 0 || holders.Length == 1 ? _settings.GrantWindow : Math.Min(UnmeasuredWindow, _settings.GrantWindow);
            var batch = ImmutableArray.CreateBuilder<int>();
            for (; batch.Count < hand[i] && outstanding[i] + batch.Count < window; next = _table.NextUngranted(next + 1))
            {
                _table.Grant(holders[i], next);
                batch.Add(next);
            }
            if (batch.Count > 0)
                Send(holders[i], new OrchestratorMessage.Grant(_table.Step, batch.Max(_table.AttemptOf), batch.ToImmutable()));
        }
        if (_givenOutStep != _table.Step && _table.UngrantedCount == 0)
            TellGivenOut();
    }

    // From here on a holder of stage 0 that has finished what it was given has a sum that changes no more, if nobody is lost.
    void TellGivenOut()
    {
        _givenOutStep = _table.Step;
        foreach ((PeerId peer, MemberInfo member) in _members)
        {
            if (member.Stage == 0 && member.HasState)
                Send(peer, new OrchestratorMessage.Grant(_table.Step, 0, []));
        }
    }

    static int[] Deal(int count, int[] outstanding, double[] service)
    {
        int[] hand = new int[outstanding.Length];
        for (; count > 0 && hand.Length > 0; count--)
        {
            int best = 0;
            for (int i = 1; i < hand.Length; i++)
            {
                if ((outstanding[i] + hand[i] + 1) * service[i] < (outstanding[best] + hand[best] + 1) * service[best])
                    best = i;
            }
            hand[best]++;
        }
        return hand;
    }

    bool IsDoubted(PeerId peer, Instant now) => _members.TryGetValue(peer, out MemberInfo? member) && member.DoubtedUntil > now;

    void Doubt(MemberInfo member, Suspicion reason, Instant now)
    {
        GrantElsewhere(member, now);
        foreach ((PeerId peer, MemberInfo feeder) in _members)
        {
            if (reason == Suspicion.Deaf && feeder.Stage == member.Stage - 1 && feeder.HasState)
                Send(peer, new OrchestratorMessage.Doubted(member.Profile.Peer));
        }
    }

    // A holder of stage 0 fell silent or lost its connection: as its neighbours do with theirs, what it was given and has
    // not finished is offered elsewhere before it is known whether it lives.
    void GrantElsewhere(MemberInfo member, Instant now)
    {
        member.DoubtedUntil = now + _settings.DoubtLasts;
        if (member.Stage != 0 || Phase != RunPhase.Running || Placement.Routable(0).All(p => IsDoubted(p, now)))
            return;
        _table.TakeBack(member.Profile.Peer);
        GrantMore(now);
    }

    void Contribute(MemberInfo member, PeerMessage.Contributed contributed, Instant now)
    {
        if (!member.HasState || contributed.Step != _table.Step)
            return;
        if (!_table.TryContribute(member.Profile.Peer, member.Stage, contributed.Generation, contributed.Microbatch, contributed.Loss))
            return;
        _progressAt = now;
        Settle(now);
    }

    void TakeReport(MemberInfo member, StepReport report, Instant now)
    {
        PeerId peer = member.Profile.Peer;
        bool wasLoading = !member.HasState;
        if (wasLoading && Phase is not (RunPhase.Loading or RunPhase.Handover or RunPhase.Recovering))
            return;
        member.HasState = true;
        member.AppliedStep = report.Step - 1;
        if (report.Step == CommittedStep)
            SendCommit(peer, false);
        else if (report.Step == _table.Step)
            _table.SetReport(peer, member.Stage, report);
        _progressAt = now;
    }

    void FinishIfCovered(Instant now)
    {
        if (!_table.IsCovered)
            return;
        if (_table.IsExact)
        {
            BeginReduce(now);
            return;
        }
        foreach ((PeerId peer, int generation, MicrobatchSet keep) in _table.RebuildPlan())
            Send(peer, new OrchestratorMessage.Rebuild(_table.Step, generation, keep));
        if (_table.IsExact)
            BeginReduce(now);
    }

    void BeginReduce(Instant now)
    {
        _reduceId = (long)Term << 32 | (uint)++_reduceTries;
        _reducedSums.Clear();
        _departed.Clear();
        (_progressAt, _reduceBeganAt) = (now, now);
        SetPhase(RunPhase.Reducing, "");
        _shares = [.. _table.Shares().Select(s => s with { AdmittedEpoch = _members[s.Peer].AdmittedEpoch })];
        // a stage sums its own gradient: nobody needs the shares of another
        OrchestratorMessage[] reduce = [.. Enumerable.Range(0, _settings.StageCount)
            .Select(stage => new OrchestratorMessage.Reduce(_table.Step, _reduceId, [.. _shares.Where(share => share.Stage == stage)]))];
        foreach ((PeerId peer, MemberInfo member) in _members)
        {
            if (member.HasState)
                Send(peer, reduce[member.Stage]);
        }
    }

    void Reduced(MemberInfo member, PeerMessage.Reduced reduced, Instant now)
    {
        if (Phase != RunPhase.Reducing || reduced.ReduceId != _reduceId || !member.HasState)
            return;
        _reducedSums[member.Profile.Peer] = reduced.TensorSquares;
        _progressAt = now;
        CommitIfReduced(now);
    }

    void ReduceRefused(MemberInfo member, PeerMessage.ReduceRefused refused, Instant now)
    {
        if (Phase != RunPhase.Reducing || refused.ReduceId != _reduceId)
            return;
        Reopen();
        _table.SetReport(member.Profile.Peer, member.Stage, refused.Report);
        Settle(now);
    }

    bool IsReductionSafeWithout(PeerId peer, MemberInfo member)
    {
        if (Phase != RunPhase.Reducing || !_table.HasShare(peer))
            return true;
        bool hasOther = false;
        foreach ((PeerId other, MemberInfo info) in _members)
        {
            if (other == peer || info.Stage != member.Stage || !info.HasState)
                continue;
            if (!_reducedSums.ContainsKey(other))
                return false;
            hasOther = true;
        }
        return hasOther;
    }

    void Reopen()
    {
        foreach ((PeerId peer, MemberInfo member) in _members)
        {
            if (member.HasState)
                Send(peer, new OrchestratorMessage.Reopen(_table.Step, _reduceId));
        }
        _reducedSums.Clear();
        foreach (PeerId peer in _departed)
            _table.Remove(peer);
        _departed.Clear();
        if (Phase == RunPhase.Reducing)
            SetPhase(RunPhase.Running, "");
    }

    // Two replicas of a stage wait for each other's sums: the later of them in peer order leaves, its share is done again. One
    // whose compute thread is at work has what it waited for; whether that thread hangs is another question.
    void DropUnreduced(Instant now)
    {
        TimeSpan known = _reduceLasted * _settings.HangFactor;
        bool isKnown = _reduceLasted > TimeSpan.Zero && _members.Values.All(m => m.HasReduced || !m.HasState);
        TimeSpan patience = !isKnown ? ControlSettings.Patience(_settings.ReduceWithin, _slices.Max(slice => _settings.Model.Bytes(slice))) : known > _settings.ReduceLeast ? known : _settings.ReduceLeast;
        if (now - _progressAt <= patience)
            return;
        _progressAt = now;
        PeerId[] late = [.. Enumerable.Range(0, _settings.StageCount)
            .Select(stage => _members.Where(m => m.Value.Stage == stage && m.Value.HasState).ToArray())
            .Where(holders => holders.Length > 1 && holders.Any(IsWaiting))
            .Select(holders => holders.Last(IsWaiting).Key)];
        if (late.Length > 0)
            Remove(late, $"the reduction of step {_table.Step} was not done within {patience.TotalSeconds:F0} s; look at the links between the replicas", now);

        bool IsWaiting(KeyValuePair<PeerId, MemberInfo> holder) => !_reducedSums.ContainsKey(holder.Key) && holder.Value.Open.Task == ComputeTask.None;
    }

    void CommitIfReduced(Instant now)
    {
        PeerId[] holders = [.. _members.Where(m => m.Value.HasState).Select(m => m.Key)];
        if (holders.Any(p => !_reducedSums.ContainsKey(p)))
            return;
        double squares = 0;
        for (int stage = 0; stage < _settings.StageCount; stage++)
        {
            foreach (double tensor in _reducedSums[holders.First(p => _members[p].Stage == stage)])
                squares += tensor;
        }
        double norm = Math.Sqrt(squares);
        if (!double.IsFinite(norm))
        {
            SetPhase(RunPhase.Hold, $"the gradient norm of step {_table.Step} is {norm}; nothing was applied; stop the run and look at its data and learning rate");
            return;
        }
        Commit(norm, holders, now);
    }

    void Commit(double norm, PeerId[] holders, Instant now)
    {
        _lastNorm = norm;
        _reduceLasted = now - _reduceBeganAt;
        foreach (PeerId holder in holders)
            _members[holder].HasReduced = true;
        _lastScale = GradientClip.Scale(norm, _settings.ClipNorm);
        CommittedStep = _table.Step;
        Persist(new DurableRecord.StepCommitted(Branch, CommittedStep, _lastScale, norm, _table.Loss) { Shares = _shares });
        bool isLast = CommittedStep == _settings.StepCount || _stopReason.Length > 0;
        bool isDue = _settings.CheckpointEvery > 0 && CommittedStep % _settings.CheckpointEvery == 0;
        bool isCheckpoint = isLast || isDue && !IsCheckpointUnderWay(now);
        if (isCheckpoint)
        {
            _checkpointWriters.Clear();
            (_checkpointAsked, _checkpointAskedAt) = (CommittedStep, now);
        }
        foreach (PeerId peer in holders)
            SendCommit(peer, isCheckpoint && _checkpointWriters.TryAdd(_members[peer].Stage, (peer, _members[peer].AdmittedEpoch)));
        _reducedSums.Clear();
        _stepLasted = now - _stepBeganAt;
        _table = NewTable(CommittedStep + 1);
        if (isLast)
            SetPhase(RunPhase.Finishing, "");
        else
            BeginHandover(now);
    }

    // Steps may be faster than the way up for their files: a due checkpoint is left out while the one before it still comes,
    // else none would ever be whole. One that lost a writer comes no more, and one whose writer has a full disk need not come.
    bool IsCheckpointUnderWay(Instant now)
    {
        bool isAwaited = _checkpointAsked > CheckpointStep
            && _checkpointWriters.Values.All(w => _members.TryGetValue(w.Peer, out MemberInfo? member) && member.AdmittedEpoch == w.AdmittedEpoch);
        TimeSpan patience = isAwaited ? _checkpointWriters.Values.Max(w => LoadPatience(_members[w.Peer])) : TimeSpan.Zero;
        if (!isAwaited || now - _checkpointAskedAt <= patience)
            return isAwaited;
        Note($"the checkpoint of step {_checkpointAsked} was not whole after {patience.TotalSeconds:F0} s and is awaited no more; look at the logs of the peers that wrote it");
        return false;
    }

    void SendCommit(PeerId peer, bool checkpoint) =>
        Send(peer, new OrchestratorMessage.Commit(CommittedStep, _lastScale, _lastNorm, checkpoint));

    void Applied(MemberInfo member, PeerMessage.Applied applied, Instant now)
    {
        member.AppliedStep = Math.Max(member.AppliedStep, applied.Step);
        if (IsDivergent(member, applied))
        {
            Remove([member.Profile.Peer], $"its weights after step {applied.Step} differ from the other replicas of stage {member.Stage}", now);
            return;
        }
        if (Phase == RunPhase.Running)
            ReleaseDrained(now);
        else if (Phase == RunPhase.Finishing)
            FinishIfApplied();
    }

    readonly SortedDictionary<int, ulong> _stageHashes = [];
    int _hashedStep;

    // The first replica of a stage to report a step's weights sets what the others must have.
    bool IsDivergent(MemberInfo member, PeerMessage.Applied applied)
    {
        if (applied.StateHash == 0 || applied.Step != CommittedStep)
            return false;
        if (_hashedStep != applied.Step)
            _stageHashes.Clear();
        _hashedStep = applied.Step;
        return !_stageHashes.TryAdd(member.Stage, applied.StateHash) && _stageHashes[member.Stage] != applied.StateHash;
    }

    void CheckpointWritten(PeerMessage.CheckpointWritten written)
    {
        if (written.Step <= CheckpointStep || written.Step > CommittedStep)
            return;
        if (!_checkpointStages.TryGetValue(written.Step, out HashSet<int>? stages))
            _checkpointStages[written.Step] = stages = [];
        stages.Add(written.Stage);
        if (stages.Count < _settings.StageCount)
            return;
        CheckpointStep = written.Step;
        Persist(new DurableRecord.CheckpointCompleted(written.Step));
        foreach (int old in _checkpointStages.Keys.Where(s => s <= written.Step).ToArray())
            _checkpointStages.Remove(old);
        FinishIfApplied();
    }

    // After the last commit nothing changes any more: any holder can write what a lost writer did not.
    void AskForCheckpoint()
    {
        if (CheckpointStep == CommittedStep)
            return;
        _checkpointStages.TryGetValue(CommittedStep, out HashSet<int>? written);
        for (int stage = 0; stage < _settings.StageCount; stage++)
        {
            PeerId writer = _members.FirstOrDefault(m => m.Value.Stage == stage && m.Value.HasState).Key;
            if (written?.Contains(stage) != true && !writer.IsNone)
                Send(writer, new OrchestratorMessage.WriteCheckpoint(CommittedStep));
        }
    }

    void FinishIfApplied()
    {
        if (Phase == RunPhase.Finishing && CheckpointStep == CommittedStep && _members.Values.All(m => !m.HasState || m.AppliedStep == CommittedStep))
            End(CommittedStep == _settings.StepCount ? $"all {_settings.StepCount} steps are done" : _stopReason);
    }

    // Nothing was contributed for long: each microbatch is asked after where it was last seen.
    void RecheckStalled(Instant now)
    {
        TimeSpan patience = TimeSpan.FromTicks(Math.Max(_settings.RecheckAfter.Ticks, 2 * _stepLasted.Ticks));
        if (now - _progressAt < patience)
            return;
        _progressAt = now;
        for (int m = 0; m < _settings.MicrobatchCount; m++)
        {
            int stage = _table.LowestMissing(m);
            PeerId at = stage > 0 ? _table.Contributor(stage - 1, m) : stage == 0 ? _table.GrantedTo(m) : PeerId.None;
            if (at.IsNone)
                continue;
            if (stage == 0)
                Send(at, new OrchestratorMessage.Grant(_table.Step, _table.Grant(at, m), [m]));
            Send(at, new OrchestratorMessage.Recheck(_table.Step, m, stage));
        }
    }
}
