// Who is in the run: admission, leases, placement, drain, and what a loss means.
// A newcomer goes to the stage with the least speed per cost among those that its memory holds; while a run is on it waits
// as Joining until the next step's end. A stage without holder: HOLD until every stage has a member again, then all load
// the newest checkpoint (the steps after it are undone, said in RolledBack). Members are walked in peer order.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

sealed partial class Orchestrator
{
    sealed class MemberInfo(PeerProfile profile)
    {
        public PeerProfile Profile = profile;
        public int Stage;
        public int AdmittedEpoch;
        public bool HasState;
        public bool IsDraining;
        public bool IsHeard = true;
        public int AppliedStep;
        public int LeavesAfterStep;
        public long ServiceNanoseconds;
        public Instant LeaseUntil;
        public Instant HeardAt;
        public Instant AccusedAt;
        public Instant AccusesAt;
        public TimeSpan Silence;
        public OpenTask Open;
        public long BulkBytes;
        public bool IsHangTold;
        public bool HasReduced;
        public PeerId LoadsFrom;
        public Instant DoubtedUntil;
        public Instant LoadUntil = Instant.Never;

        public MemberState State => !HasState ? MemberState.Joining : IsDraining ? MemberState.Draining : MemberState.Active;
    }

    const string CameBack = "came back without its state";

    readonly SortedDictionary<PeerId, PeerProfile> _waiting = [];
    readonly HashSet<PeerId> _drained = [];
    StageSlice[] _slices = [];
    string _lastLoss = "";

    void Join(PeerMessage.Join join, long unixSeconds, Instant now)
    {
        PeerProfile profile = join.Profile;
        if (!IsAdmissible(join, unixSeconds, out JoinRefusal refusal, out string text))
        {
            Send(profile.Peer, new OrchestratorMessage.Refused(refusal, text));
            return;
        }
        // A member that asks to join has lost what it held: its former life ends here.
        if (_members.ContainsKey(profile.Peer))
            Remove([profile.Peer], CameBack, now);
        if (Phase == RunPhase.Ended || _members.ContainsKey(profile.Peer))
            return;
        int stage = 0;
        refusal = JoinRefusal.TooLittleMemory;
        if (Phase == RunPhase.Gathering ? !HoldsTheSmallest(profile, out text) : !TryChooseStage(profile, out stage, out refusal, out text))
        {
            Send(profile.Peer, new OrchestratorMessage.Refused(refusal, text));
            return;
        }
        if (!_known.ContainsKey(profile.Peer))
        {
            string hash = JoinTokens.Hash(join.Token);
            Persist(new DurableRecord.TokenUsed(hash, profile.Peer));
            _tokens.Use(hash);
        }
        Persist(new DurableRecord.PeerAdmitted(profile));
        _known[profile.Peer] = profile;
        _drained.Remove(profile.Peer);
        if (Phase == RunPhase.Gathering)
        {
            _waiting[profile.Peer] = profile;
            Send(profile.Peer, WelcomeTo(profile.Peer));
            if (_waiting.Count >= _settings.StageCount * _settings.ReplicaCount)
                BeginRun(now);
            return;
        }
        _members[profile.Peer] = new MemberInfo(profile) { Stage = stage, AdmittedEpoch = Placement.Epoch + 1 };
        Renew(_members[profile.Peer], now);
        Publish();
        Send(profile.Peer, WelcomeTo(profile.Peer));
        if (Phase == RunPhase.Loading)
            LoadFrom(profile.Peer, PeerId.None, now);
        else if (Phase == RunPhase.Handover)
            HandOver(profile.Peer, now);
        Settle(now);
    }

    bool IsAdmissible(PeerMessage.Join join, long unixSeconds, out JoinRefusal refusal, out string text)
    {
        PeerProfile profile = join.Profile;
        (refusal, text) = Phase == RunPhase.Ended ? (JoinRefusal.RunEnded, "the run has ended")
            : profile.Version != _settings.Version
                ? (JoinRefusal.OtherVersion, $"this peer runs version {profile.Version}, the run version {_settings.Version}; install {_settings.Version}")
            : profile.ModelHash != _settings.ModelHash
                ? (JoinRefusal.OtherModel, $"this peer's model has hash {profile.ModelHash}, the run's {_settings.ModelHash}; use the run's model file")
            : profile.TokenizerHash != _settings.TokenizerHash
                ? (JoinRefusal.OtherTokenizer, $"this peer's tokenizer has hash {profile.TokenizerHash}, the run's {_settings.TokenizerHash}; use the run's tokenizer")
            : (JoinRefusal.UnknownToken, "");
        if (text.Length > 0)
            return false;
        return _known.ContainsKey(profile.Peer) || _tokens.Admits(join.Token, unixSeconds, out refusal, out text);
    }

    // Before the model is cut: no cut has a stage below the lightest block.
    bool HoldsTheSmallest(PeerProfile profile, out string text)
    {
        long least = _settings.Model.LeastBytes(profile.IsApart);
        text = profile.MemoryBytes >= least ? ""
            : $"the smallest stage of this model needs {ModelCosts.Size(least)} for weights, gradients, optimizer state, activations of the microbatches in flight and buffers, this peer offers {ModelCosts.Size(profile.MemoryBytes)}";
        return text.Length == 0;
    }

    bool TryChooseStage(PeerProfile profile, out int stage, out JoinRefusal refusal, out string text)
    {
        int holdersMost = _settings.ReplicaCount + ControlSettings.SpareReplicas;
        (stage, refusal) = (-1, JoinRefusal.RunFull);
        text = $"every stage has {holdersMost} peers, and peers keep room for the links of no more; join again when one has left";
        double best = double.PositiveInfinity;
        for (int s = 0; s < _slices.Length; s++)
        {
            if (_members.Values.Count(m => m.Stage == s) >= holdersMost)
                continue;
            long needed = _settings.Model.Bytes(_slices[s], profile.IsApart);
            if (needed > profile.MemoryBytes)
            {
                refusal = JoinRefusal.TooLittleMemory;
                text = $"stage {s} (blocks {_slices[s].FirstBlock} to {_slices[s].FirstBlock + _slices[s].BlockCount - 1}) needs {ModelCosts.Size(needed)}, this peer offers {ModelCosts.Size(profile.MemoryBytes)}";
                continue;
            }
            double speed = _members.Values.Where(m => m.Stage == s && !m.IsDraining).Sum(m => m.Profile.Speed);
            bool isEmpty = !_members.Values.Any(m => m.Stage == s);
            double supply = isEmpty ? -1 : speed / _settings.Model.Cost(_slices[s]);
            if (supply < best)
                (best, stage) = (supply, s);
        }
        return stage >= 0;
    }

    // The waiting peers, fastest first, are dealt to the stages back and forth; then the model is cut to what they offer.
    void BeginRun(Instant now)
    {
        int stageCount = _settings.StageCount;
        if (_waiting.Count < stageCount)
        {
            Note($"HOLD: {_waiting.Count} peers are here, {stageCount} stages need one each");
            return;
        }
        PeerProfile[] dealt = [.. _waiting.Values.OrderByDescending(p => p.Speed).ThenByDescending(p => p.MemoryBytes).ThenBy(p => p.Peer)];
        var capacities = new StageCapacity[stageCount];
        Array.Fill(capacities, new StageCapacity(0, long.MaxValue));
        for (int i = 0; i < dealt.Length; i++)
        {
            int stage = StageOfDeal(i);
            capacities[stage] = capacities[stage].With(dealt[i].Speed, dealt[i].MemoryBytes, dealt[i].IsApart);
        }
        if (!StageCut.TryCut(_settings.Model, capacities, out _slices, out string reason))
        {
            // whoever offers least goes; the run waits for a peer with more
            PeerProfile weakest = dealt.OrderBy(p => p.MemoryBytes).ThenBy(p => p.Peer).First();
            _waiting.Remove(weakest.Peer);
            Note($"{weakest.Peer.Short} is not taken: {reason}");
            Send(weakest.Peer, new OrchestratorMessage.Refused(JoinRefusal.TooLittleMemory, $"{reason}; this peer offers {ModelCosts.Size(weakest.MemoryBytes)}"));
            return;
        }
        for (int i = 0; i < dealt.Length; i++)
        {
            _members[dealt[i].Peer] = new MemberInfo(dealt[i]) { Stage = StageOfDeal(i) };
            Renew(_members[dealt[i].Peer], now);
        }
        _waiting.Clear();
        BeginLoading(now);

        int StageOfDeal(int i) => i / stageCount % 2 == 0 ? i % stageCount : stageCount - 1 - i % stageCount;
    }

    void Publish()
    {
        if (_slices.Length == 0)
            _slices = [.. Placement.Slices];
        Placement = new Placement(Placement.Epoch + 1, [.. _slices], MembersNow());
        Placement.Check(_settings.Model.BlockCount);
        Persist(new DurableRecord.PlacementPublished(Placement));
        OrchestratorMessage[] near = [.. Enumerable.Range(0, _settings.StageCount).Select(stage => new OrchestratorMessage.Placed(Placement.Near(stage)))];
        foreach ((PeerId peer, MemberInfo member) in _members)
            Send(peer, near[member.Stage]);
    }

    // who waits for the run to begin has no stage, and there is no placement yet
    OrchestratorMessage.Welcome WelcomeTo(PeerId peer) =>
        new(Term, _members.TryGetValue(peer, out MemberInfo? member) ? Placement.Near(member.Stage) : Placement.Empty);

    /// <summary>Every member takes the state of the newest checkpoint; the run goes on from there.</summary>
    void BeginLoading(Instant now)
    {
        if (CommittedStep > CheckpointStep)
        {
            Persist(new DurableRecord.RolledBack(++Branch, CommittedStep, CheckpointStep, HoldReason));
            CommittedStep = CheckpointStep;
            _checkpointStages.Clear();
        }
        _table = NewTable(CommittedStep + 1);
        foreach (MemberInfo member in _members.Values)
        {
            member.AdmittedEpoch = Placement.Epoch + 1;
            member.HasState = false;
        }
        Publish();
        SetPhase(RunPhase.Loading, "");
        foreach (PeerId peer in _members.Keys)
            LoadFrom(peer, PeerId.None, now);
    }

    void LoadFrom(PeerId peer, PeerId source, Instant now)
    {
        MemberInfo member = _members[peer];
        member.LoadUntil = now + LoadPatience(member);
        member.LoadsFrom = source;
        Send(peer, new OrchestratorMessage.LoadState(member.AdmittedEpoch, CommittedStep, source));
    }

    TimeSpan LoadPatience(MemberInfo member) =>
        ControlSettings.Patience(_settings.HandoverWithin, _settings.Model.Bytes(_slices[member.Stage]));

    // A share or a state may take as long as it moves: a slow link makes a step late, and a member that begins to load anew later still.
    void TakeBulk(MemberInfo member, long bytes, Instant now)
    {
        if (member.BulkBytes == bytes)
            return;
        member.BulkBytes = bytes;
        if (Phase == RunPhase.Reducing)
            _progressAt = now;
        if (!member.HasState && member.LoadUntil != Instant.Never)
            member.LoadUntil = Instant.Later(member.LoadUntil, now + _settings.BulkStandsStill);
    }

    void StateLoaded(MemberInfo member, PeerMessage.StateLoaded loaded, Instant now)
    {
        if (loaded.AdmittedEpoch != member.AdmittedEpoch || loaded.Step != CommittedStep || Phase is not (RunPhase.Loading or RunPhase.Handover))
            return;
        member.HasState = true;
        member.AppliedStep = loaded.Step;
        Settle(now);
    }

    void DropLateLoaders(Instant now)
    {
        foreach ((PeerId late, MemberInfo member) in _members.Where(m => !m.Value.HasState && m.Value.LoadUntil <= now).ToArray())
        {
            if (_members.ContainsKey(late))
                Remove([late], $"its state was not loaded within {LoadPatience(member).TotalSeconds:F0} s", now);
        }
    }

    void Drain(PeerId peer, Instant now)
    {
        if (!_members.TryGetValue(peer, out MemberInfo? member) || member.IsDraining)
            return;
        Persist(new DurableRecord.DrainAsked(peer));
        member.IsDraining = true;
        member.LeavesAfterStep = Phase is RunPhase.Running or RunPhase.Reducing ? _table.Step : CommittedStep;
        if (Phase != RunPhase.Gathering)
            Publish();
        if (!_members.Values.Any(m => m.Stage == member.Stage && !m.IsDraining))
            Note($"drain of {peer.Short} waits: it is the last holder of stage {member.Stage}");
        Settle(now);
    }

    // A draining member goes once another one holds its stage and the step that it had work in is applied.
    void ReleaseDrained(Instant now)
    {
        PeerId[] done = [.. _members.Where(m => m.Value.IsDraining && m.Value.AppliedStep == CommittedStep && CommittedStep >= m.Value.LeavesAfterStep && !_table.HasShare(m.Key)
            && _members.Values.Any(other => other.Stage == m.Value.Stage && other.State == MemberState.Active)).Select(m => m.Key)];
        foreach (PeerId peer in done)
        {
            _drained.Add(peer);
            Remove([peer], "drained", now);
        }
    }

    void Remove(PeerId[] peers, string reason, Instant now)
    {
        bool reopens = false;
        foreach (PeerId peer in peers)
        {
            MemberInfo member = _members[peer];
            Persist(new DurableRecord.PeerRemoved(peer, Placement.Epoch + 1, reason));
            _lastLoss = $"{peer.Short} left: {reason}; ";
            if (reason != CameBack)
                Send(peer, new OrchestratorMessage.Leave(reason, !_drained.Contains(peer)));
            reopens |= !IsReductionSafeWithout(peer, member);
            _members.Remove(peer);
            _reducedSums.Remove(peer);
            if (Phase == RunPhase.Reducing)
                _departed.Add(peer);
            else
                _table.Remove(peer);
        }
        Publish();
        if (reopens)
            Reopen();
        // whoever was taking the state of one that is gone takes another's
        foreach (PeerId newcomer in _members.Where(m => !m.Value.HasState && Phase == RunPhase.Handover && peers.Contains(m.Value.LoadsFrom)).Select(m => m.Key).ToArray())
            HandOver(newcomer, now);
        Settle(now);
    }

    int EmptyStage(Func<MemberInfo, bool> counts)
    {
        for (int stage = 0; stage < _settings.StageCount; stage++)
        {
            if (!_members.Values.Any(m => m.Stage == stage && counts(m)))
                return stage;
        }
        return -1;
    }

    // Looks at the members after any change of them and brings the phase in line.
    void Settle(Instant now)
    {
        switch (Phase)
        {
            case RunPhase.Gathering or RunPhase.Ended:
                return;
            case RunPhase.Recovering:
                if (_members.Values.All(m => m.IsHeard))
                    LeaveRecovery(now);
                return;
            case RunPhase.Loading when EmptyStage(m => true) is int gone and >= 0:
                SetPhase(RunPhase.Hold, HoldText(gone));
                return;
            case RunPhase.Loading:
                if (_members.Values.All(m => m.HasState))
                    BeginStep(now);
                return;
            default:
                break;
        }
        int empty = EmptyStage(m => m.HasState);
        if (empty < 0)
        {
            SettleStep(now);
            return;
        }
        if (Phase != RunPhase.Hold)
            SetPhase(RunPhase.Hold, HoldText(empty));
        FillEmptyStages();
        if (EmptyStage(m => true) < 0)
            BeginLoading(now);
    }

    // A newcomer that holds nothing yet serves an empty stage rather than wait beside the holders of its own.
    void FillEmptyStages()
    {
        for (int stage = EmptyStage(m => true); stage >= 0; stage = EmptyStage(m => true))
        {
            MemberInfo? spare = _members.Values.FirstOrDefault(m => !m.HasState && m.Profile.MemoryBytes >= _settings.Model.Bytes(_slices[stage], m.Profile.IsApart)
                && _members.Values.Count(other => other.Stage == m.Stage) > 1);
            if (spare is null)
                return;
            spare.Stage = stage;
        }
    }

    string HoldText(int stage) =>
        $"no holder for stage {stage} (step {CommittedStep + 1} is uncommitted, the newest checkpoint is of step {CheckpointStep}); {_lastLoss}the run goes on when a peer joins";

    void Hello(MemberInfo member, PeerMessage.Hello hello, Instant now)
    {
        PeerId peer = member.Profile.Peer;
        if (Phase == RunPhase.Loading && hello.AdmittedEpoch != member.AdmittedEpoch)
        {
            Send(peer, WelcomeTo(peer));
            Reload(member, now);
            return;
        }
        bool isBehind = hello.HasState && hello.Report.Step < CommittedStep;
        if (hello.AdmittedEpoch != member.AdmittedEpoch || isBehind)
        {
            Remove([peer], $"stands at step {hello.Report.Step} of epoch {hello.AdmittedEpoch}, the run at step {CommittedStep + 1} of its epoch {member.AdmittedEpoch}", now);
            return;
        }
        member.IsHeard = true;
        Send(peer, WelcomeTo(peer));
        Send(peer, new OrchestratorMessage.Holding(HoldReason));
        if (Phase == RunPhase.Reducing)
            Reopen();
        else
            Send(peer, new OrchestratorMessage.Reopen(_table.Step, Math.Max(_reduceId, (long)Term << 32)));
        if (!hello.HasState)
            Reload(member, now);
        else
            TakeReport(member, hello.Report, now);
        Settle(now);
    }

    void Reload(MemberInfo member, Instant now)
    {
        member.HasState = false;
        if (Phase == RunPhase.Loading)
            LoadFrom(member.Profile.Peer, PeerId.None, now);
        else if (Phase == RunPhase.Handover)
            HandOver(member.Profile.Peer, now);
    }

    void LeaveRecovery(Instant now)
    {
        if (_members.Values.All(m => !m.HasState))
        {
            BeginLoading(now);
            return;
        }
        if (EmptyStage(m => m.HasState) < 0)
        {
            ResumeStep(now);
            return;
        }
        SetPhase(RunPhase.Hold, HoldText(EmptyStage(m => m.HasState)));
        FillEmptyStages();
        if (EmptyStage(m => true) < 0)
            BeginLoading(now);
    }
}
