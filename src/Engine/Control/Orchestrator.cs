// The orchestrator's core: membership, placement, and the commits of a run's steps, as one state machine
//   Step(event, now) -> effects
// It never sees a tensor. Rules it keeps: a step is committed only when every (stage, microbatch) is in exactly one living
// replica's sum and every holder has the reduced sum; the commit is durable before anybody hears of it; epochs and terms
// only grow; a lost member's uncommitted work is done again; a stage without holder is a HOLD, never a crash.
// Restarting from the records and the peers' reports gives the same decisions: doing an effect twice is doing it once.
using System.Collections.Immutable;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

sealed partial class Orchestrator
{
    readonly ControlSettings _settings;
    readonly JoinTokens _tokens = new();
    readonly SortedDictionary<PeerId, MemberInfo> _members = [];
    readonly SortedDictionary<PeerId, PeerProfile> _known = [];
    readonly List<OrchestratorEffect> _effects = [];
    StepTable _table;
    Instant _tickedAt, _pulseAt;
    string _stopReason = "";

    public Orchestrator(ControlSettings settings)
    {
        _settings = settings;
        _table = NewTable(1);
    }

    public RunPhase Phase { get; private set; } = RunPhase.Gathering;

    /// <summary>Why the run waits; empty while it goes on.</summary>
    public string HoldReason { get; private set; } = "";

    public int Term { get; private set; }

    public int Branch { get; private set; }

    public int CommittedStep { get; private set; }

    public int CheckpointStep { get; private set; }

    public Placement Placement { get; private set; } = Placement.Empty;

    /// <summary>An orchestrator as it was when the last record was written; its first event is Started.</summary>
    public static Orchestrator Restore(ControlSettings settings, IEnumerable<DurableRecord> records)
    {
        var restored = new Orchestrator(settings);
        foreach (DurableRecord record in records)
            restored.Replay(record);
        restored._table = restored.NewTable(restored.CommittedStep + 1);
        return restored;
    }

    void Replay(DurableRecord record)
    {
        switch (record)
        {
            case DurableRecord.TermStarted started:
                Term = started.Term;
                break;
            case DurableRecord.TokenIssued issued:
                _tokens.Add(issued.Hash, issued.Uses, issued.ExpiresUnixSeconds);
                break;
            case DurableRecord.TokenUsed used:
                _tokens.Use(used.Hash);
                break;
            case DurableRecord.PeerAdmitted admitted:
                _known[admitted.Profile.Peer] = admitted.Profile;
                break;
            case DurableRecord.DrainAsked drain when _members.TryGetValue(drain.Peer, out MemberInfo? member):
                member.IsDraining = true;
                break;
            case DurableRecord.PlacementPublished published:
                TakePlacement(published.Placement);
                break;
            case DurableRecord.StepCommitted committed:
                (CommittedStep, _lastScale, _lastNorm) = (committed.Step, committed.Scale, committed.GradientNorm);
                break;
            case DurableRecord.CheckpointCompleted checkpoint:
                CheckpointStep = checkpoint.Step;
                break;
            case DurableRecord.RolledBack back:
                (Branch, CommittedStep) = (back.Branch, back.ToStep);
                break;
            case DurableRecord.RunEnded:
                Phase = RunPhase.Ended;
                break;
            default:
                break;
        }
    }

    void TakePlacement(Placement placement)
    {
        Placement = placement;
        _slices = [.. placement.Slices];
        foreach (PeerId gone in _members.Keys.Where(p => !placement.TryFind(p, out _)).ToArray())
            _members.Remove(gone);
        foreach (Member member in placement.Members)
        {
            MemberInfo info = _members.TryGetValue(member.Peer, out MemberInfo? known) ? known : new MemberInfo(_known[member.Peer]);
            info.Stage = member.Stage;
            info.AdmittedEpoch = member.AdmittedEpoch;
            info.HasState = member.State != MemberState.Joining;
            info.IsDraining |= member.State == MemberState.Draining;
            _members[member.Peer] = info;
        }
    }

    /// <summary>One event; the effects are to be performed in order. The list is reused by the next call.</summary>
    public IReadOnlyList<OrchestratorEffect> Step(OrchestratorEvent input, Instant now)
    {
        _effects.Clear();
        switch (input)
        {
            case OrchestratorEvent.Started:
                Start(now);
                break;
            case OrchestratorEvent.TokenIssued issued:
                Persist(new DurableRecord.TokenIssued(issued.Hash, issued.Uses, issued.ExpiresUnixSeconds));
                _tokens.Add(issued.Hash, issued.Uses, issued.ExpiresUnixSeconds);
                break;
            case OrchestratorEvent.Received received:
                Receive(received.Peer, received.Message, received.UnixSeconds, now);
                break;
            case OrchestratorEvent.Disconnected gone when _members.TryGetValue(gone.Peer, out MemberInfo? member):
                if (gone.IsGone)
                {
                    Remove([gone.Peer], "its process is gone", now);
                    break;
                }
                member.LeaseUntil = Instant.Earlier(member.LeaseUntil, now + _settings.ReconnectWithin);
                GrantElsewhere(member, now);
                break;
            case OrchestratorEvent.Disconnected gone when Phase == RunPhase.Gathering && _waiting.Remove(gone.Peer):
                // no stage is cut for who is not here; back again, it asks again
                Note($"{gone.Peer.Short} went before the run began");
                break;
            case OrchestratorEvent.Tick:
                Tick(now);
                break;
            case OrchestratorEvent.StartAsked when Phase == RunPhase.Gathering:
                BeginRun(now);
                break;
            case OrchestratorEvent.DrainAsked drain:
                Drain(drain.Peer, now);
                break;
            case OrchestratorEvent.StopAsked stop:
                Stop(stop.Reason);
                break;
            default:
                break;
        }
        return _effects;
    }

    void Start(Instant now)
    {
        (_tickedAt, _pulseAt) = (now, now);
        Persist(new DurableRecord.TermStarted(++Term));
        foreach (MemberInfo member in _members.Values)
        {
            Renew(member, now);
            member.IsHeard = false;
            member.LeavesAfterStep = CommittedStep + 1;
        }
        if (Phase != RunPhase.Ended && _members.Count > 0)
            SetPhase(RunPhase.Recovering, "waiting for the members to report after an orchestrator restart");
    }

    // A member's words are taken apart by index: what does not fit this run must not get that far.
    string FaultOf(MemberInfo member, PeerMessage message)
    {
        int count = _settings.MicrobatchCount;
        bool isLastStage = member.Stage == _settings.StageCount - 1;
        return message switch
        {
            PeerMessage.Hello { HasState: true } hello => hello.Report.Fault(count, isLastStage),
            PeerMessage.ReduceRefused refused => refused.Report.Fault(count, isLastStage),
            PeerMessage.Contributed contributed when (uint)contributed.Microbatch >= (uint)count => $"microbatch {contributed.Microbatch}, where a step has {count}",
            PeerMessage.Reduced { TensorSquares.IsDefault: true } => "a reduction without sums",
            _ => "",
        };
    }

    void Receive(PeerId peer, PeerMessage message, long unixSeconds, Instant now)
    {
        if (message is PeerMessage.Join join)
        {
            Join(join, unixSeconds, now);
            return;
        }
        if (!_members.TryGetValue(peer, out MemberInfo? member))
        {
            if (!_waiting.ContainsKey(peer))
                Send(peer, new OrchestratorMessage.Leave("this run does not count you among its members (lease lost, drained, or never joined)", !_drained.Contains(peer)));
            return;
        }
        if (FaultOf(member, message) is { Length: > 0 } fault)
        {
            Remove([peer], $"said what cannot be: {fault}", now);
            return;
        }
        Renew(member, now);
        switch (message)
        {
            case PeerMessage.Hello hello:
                Hello(member, hello, now);
                break;
            case PeerMessage.Heartbeat heartbeat:
                member.ServiceNanoseconds = heartbeat.ServiceNanoseconds;
                member.Silence = TimeSpan.FromTicks(heartbeat.SilenceNanoseconds / 100);
                member.Open = heartbeat.Open;
                TakeBulk(member, heartbeat.BulkBytes, now);
                break;
            case PeerMessage.Contributed contributed:
                Contribute(member, contributed, now);
                break;
            case PeerMessage.Reduced reduced:
                Reduced(member, reduced, now);
                break;
            case PeerMessage.ReduceRefused refused:
                ReduceRefused(member, refused, now);
                break;
            case PeerMessage.Applied applied:
                Applied(member, applied, now);
                break;
            case PeerMessage.StateLoaded loaded:
                StateLoaded(member, loaded, now);
                break;
            case PeerMessage.StateFailed failed when failed.AdmittedEpoch == member.AdmittedEpoch:
                Remove([peer], $"could not load its state: {failed.Reason}", now);
                break;
            case PeerMessage.CheckpointWritten written when written.AdmittedEpoch == member.AdmittedEpoch:
                CheckpointWritten(written);
                break;
            case PeerMessage.Says says:
                Note($"{peer.Short} {says.Text}");
                break;
            case PeerMessage.AsksToLeave:
                Drain(peer, now);
                break;
            case PeerMessage.Suspects suspects:
                member.AccusesAt = now;
                Note($"{peer.Short} suspects {suspects.Peer.Short}: {suspects.Reason}");
                if (_members.TryGetValue(suspects.Peer, out MemberInfo? suspected))
                {
                    suspected.AccusedAt = now;
                    Doubt(suspected, suspects.Reason, now);
                }
                break;
            default:
                break;
        }
    }

    void Tick(Instant now)
    {
        // After a pause of our own the members' renewals wait unread: the pause is not theirs.
        TimeSpan pause = now - _tickedAt;
        _tickedAt = now;
        bool wasAway = pause > _settings.SilenceLimit / 2;
        foreach (MemberInfo member in _members.Values)
        {
            if (wasAway)
                member.HeardAt = now;
            if (pause > _settings.LeaseLasts / 2)
                member.LeaseUntil += pause;
        }
        PeerId[] expired = [.. _members.Where(m => m.Value.LeaseUntil <= now).Select(m => m.Key)];
        if (expired.Length > 0)
            Remove(expired, "lease expired", now);
        RemoveLost(now);
        Pulse(now);
        if (Phase is RunPhase.Handover or RunPhase.Loading)
            DropLateLoaders(now);
        if (Phase == RunPhase.Running)
        {
            GrantMore(now);
            RecheckStalled(now);
        }
        else if (Phase == RunPhase.Reducing)
        {
            DropUnreduced(now);
        }
    }

    void Renew(MemberInfo member, Instant now) => (member.HeardAt, member.LeaseUntil) = (now, now + _settings.LeaseLasts);

    // A peer that is stopped or cut off keeps a share that the step needs; with another holder beside it the run does not wait.
    void RemoveLost(Instant now)
    {
        foreach ((PeerId peer, MemberInfo member) in _members.ToArray())
        {
            TimeSpan silent = now - member.HeardAt;
            bool isSilent = silent > _settings.SilenceLimit, isDeaf = member.Silence > _settings.SilenceLimit;
            // with one stage there are no neighbours to ask: twice the silence counts as the second witness
            bool isCertain = IsAccused(member, now) || isDeaf && IsRecent(member.AccusesAt, now) || _settings.StageCount == 1 && (silent > 2 * _settings.SilenceLimit || member.Silence > 2 * _settings.SilenceLimit);
            if ((isSilent || isDeaf) && isCertain && _members.ContainsKey(peer) && HasOtherHolder(member, now))
                Remove([peer], isSilent ? $"silent for {silent.TotalSeconds:F1} s, and suspected by its neighbours" : $"it hears nobody for {member.Silence.TotalSeconds:F1} s", now);
            else if (_members.ContainsKey(peer))
                LookAtHang(member, now);
        }
    }

    // Its loop lives and says so itself: measured by its own usual time, so that a slow peer is not a hung one. Who holds nothing
    // yet can be missed; the only holder of a stage cannot: its state exists nowhere else.
    void LookAtHang(MemberInfo member, Instant now)
    {
        bool isHung = IsHung(member), isOnlyOne = member.HasState && !HasOtherHolder(member, now);
        string text = $"its compute has not ended for {member.Open.Lasted.TotalSeconds:F1} s: {member.Open.Words}, which takes it {member.Open.Usual.TotalSeconds:F2} s";
        if (isHung && !isOnlyOne)
            Remove([member.Profile.Peer], text, now);
        else if (isHung && !member.IsHangTold)
            Note($"{member.Profile.Peer.Short} hangs ({text}); the run waits for it: nobody else holds stage {member.Stage}");
        member.IsHangTold = isHung;
    }

    bool IsHung(MemberInfo member) => member.Open.Task != ComputeTask.None && member.Open.Lasted > _settings.PatienceWith(member.Open);

    bool IsAccused(MemberInfo member, Instant now) => IsRecent(member.AccusedAt, now);

    bool IsRecent(Instant accusation, Instant now) => accusation != Instant.Zero && now - accusation <= _settings.AccusationLasts;

    bool HasOtherHolder(MemberInfo member, Instant now) =>
        _members.Values.Any(other => other != member && other.Stage == member.Stage && other.HasState && !IsAccused(other, now) && !IsHung(other));

    void Pulse(Instant now)
    {
        if (now < _pulseAt)
            return;
        _pulseAt = now + _settings.PulseInterval;
        foreach (PeerId peer in _members.Keys)
            Send(peer, new OrchestratorMessage.Pulse());
    }

    void SetPhase(RunPhase phase, string holdReason)
    {
        Phase = phase;
        if (phase == RunPhase.Hold && _stopReason.Length > 0)
        {
            End(_stopReason);
            return;
        }
        if (holdReason == HoldReason)
            return;
        HoldReason = holdReason;
        Note(holdReason.Length > 0 ? $"HOLD: {holdReason}" : "the run goes on");
        foreach (PeerId peer in _members.Keys)
            Send(peer, new OrchestratorMessage.Holding(holdReason));
    }

    // A step under way ends first, and its state is saved; where none is, the newest checkpoint is all there is.
    void Stop(string reason)
    {
        if (Phase is RunPhase.Running or RunPhase.Reducing or RunPhase.Handover)
        {
            _stopReason = reason;
            Note($"the run ends after step {_table.Step}: {reason}");
        }
        else if (Phase != RunPhase.Finishing)
        {
            End(reason);
        }
    }

    void End(string reason)
    {
        if (Phase == RunPhase.Ended)
            return;
        SetPhase(RunPhase.Ended, "");
        Persist(new DurableRecord.RunEnded(CommittedStep, reason));
        foreach (PeerId peer in _members.Keys.Concat(_waiting.Keys))
            Send(peer, new OrchestratorMessage.Leave(reason, MayRejoin: false));
    }

    StepTable NewTable(int step) => new(step, _settings.StageCount, _settings.MicrobatchCount);

    void Persist(DurableRecord record) => _effects.Add(new OrchestratorEffect.Persist(record));

    void Send(PeerId peer, OrchestratorMessage message) => _effects.Add(new OrchestratorEffect.Send(peer, message));

    void Note(string text) => _effects.Add(new OrchestratorEffect.Note(text));

    ImmutableArray<Member> MembersNow() =>
        [.. _members.Select(m => new Member(m.Key, m.Value.Stage, m.Value.AdmittedEpoch, m.Value.State))];
}
