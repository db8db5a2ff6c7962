// A whole peer as its host sees it: membership towards the orchestrator around one PeerSchedule.
//   Away -> Asking -> Member -> Working           Away: no connection to the orchestrator
//                    Member: has a stage, loads its state        Leave: back to Asking, everything forgotten
// A peer whose state could not be loaded asks again later and later: 1, 2, 4 ... 60 s after each failure in a row. One whose
// compute thread hangs asks when it is free.
// The orchestrator may be away while the peer works: it goes on to the end of the step and says Hello when it is back.
// Pure: the host brings events with their time, performs the effects in order, and brings back what it asked for.
using OrionNative.Engine.Control;
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

enum PeerState : byte { Asking, Member, Working, Ended }

sealed class PeerCore(PeerProfile profile, string token, ScheduleSettings settings, PathfinderSettings routing, ulong seed)
{
    static readonly TimeSpan _heartbeatInterval = TimeSpan.FromSeconds(0.25);
    static readonly TimeSpan _askAgainFirst = TimeSpan.FromSeconds(1);
    static readonly TimeSpan _askAgainAtMost = TimeSpan.FromSeconds(60);

    readonly PeerSchedule _schedule = new(settings, routing, profile.Peer, seed);
    Placement _placement = Placement.Empty;
    OrchestratorMessage.LoadState? _loading;
    Instant _heartbeatAt, _heardAt, _askAt;
    int _failedLoads;
    bool _isConnected;
    bool _hasAsked;
    long _toldService;
    OpenTask _open;

    public PeerSchedule Schedule => _schedule;

    public Placement Placement => _placement;

    public PeerState State { get; private set; }

    public int AdmittedEpoch { get; private set; }

    /// <summary>It was asked to leave and does not come back by itself.</summary>
    public bool IsLeaving { get; private set; }

    /// <summary>What the run waits for, in the orchestrator's words; empty while it goes on.</summary>
    public string HoldReason { get; private set; } = "";

    /// <summary>Why this peer was refused or sent away; empty while it is welcome.</summary>
    public string EndReason { get; private set; } = "";

    public void HandleOrchestratorConnected(Instant now, PeerEffects effects)
    {
        _isConnected = true;
        _heardAt = now;
        _heartbeatAt = now + _heartbeatInterval;
        if (State is PeerState.Member or PeerState.Working)
        {
            Tell(new PeerMessage.Hello(AdmittedEpoch, State == PeerState.Working, _schedule.Report()), effects);
            if (IsLeaving)
                Tell(new PeerMessage.AsksToLeave(), effects);
        }
        _hasAsked = false;
        AskToJoin(now, effects);
    }

    void AskToJoin(Instant now, PeerEffects effects)
    {
        if (State != PeerState.Asking || !_isConnected || _hasAsked || now < _askAt || _schedule.IsComputing || _open.Task != ComputeTask.None)
            return;
        _hasAsked = true;
        Tell(new PeerMessage.Join(profile, token), effects);
    }

    public void HandleOrchestratorLost() => _isConnected = false;

    public void HandleControl(OrchestratorMessage message, Instant now, PeerEffects effects)
    {
        if (State == PeerState.Ended)
            return;
        _heardAt = now;
        switch (message)
        {
            case OrchestratorMessage.Welcome welcome:
                State = State == PeerState.Asking ? PeerState.Member : State;
                Place(welcome.Placement, now, effects);
                break;
            case OrchestratorMessage.Placed placed:
                Place(placed.Placement, now, effects);
                break;
            case OrchestratorMessage.Refused refused:
                End(refused.Text, effects);
                break;
            case OrchestratorMessage.Leave { MayRejoin: true } when State == PeerState.Asking:
                break;
            case OrchestratorMessage.Leave leave:
                Leave(leave, now, effects);
                break;
            case OrchestratorMessage.LoadState load:
                Load(load, effects);
                break;
            case OrchestratorMessage.Grant grant:
                foreach (int microbatch in grant.Microbatches)
                    _schedule.HandleGrant(grant.Step, grant.Attempt, microbatch, now, effects);
                if (grant.Microbatches.IsEmpty)
                    _schedule.HandleGivenOut(grant.Step, now, effects);
                break;
            case OrchestratorMessage.Recheck recheck:
                _schedule.HandleRecheck(recheck, now, effects);
                break;
            case OrchestratorMessage.Doubted doubted:
                _schedule.HandleDoubted(doubted.Peer, now, effects);
                break;
            case OrchestratorMessage.Rebuild rebuild:
                _schedule.HandleRebuild(rebuild, now, effects);
                break;
            case OrchestratorMessage.Reduce reduce:
                _schedule.HandleReduce(reduce, now, effects);
                break;
            case OrchestratorMessage.Reopen reopen:
                _schedule.HandleReopen(reopen, now, effects);
                break;
            case OrchestratorMessage.Commit commit:
                if (State == PeerState.Working && !_schedule.TryCommit(commit, effects))
                    Leave(new OrchestratorMessage.Leave($"step {commit.Step} is committed, this peer stands in step {_schedule.Step} without its reduced gradient", true), now, effects);
                break;
            case OrchestratorMessage.WriteCheckpoint write when State == PeerState.Working:
                effects.Add(new PeerEffect(PeerEffectKind.WriteCheckpoint) { Step = write.Step });
                break;
            case OrchestratorMessage.WriteCheckpoint:
                break;
            case OrchestratorMessage.Pulse:
                break;
            case OrchestratorMessage.Holding holding:
                HoldReason = holding.Reason;
                break;
            default:
                throw new InvalidOperationException($"no handler for {message.GetType().Name}");
        }
    }

    /// <summary>As a Grant of one microbatch, without the message: the path of every microbatch at stage 0.</summary>
    public void HandleGranted(int step, int attempt, int microbatch, Instant now, PeerEffects effects)
    {
        _heardAt = now;
        if (State != PeerState.Ended)
            _schedule.HandleGrant(step, attempt, microbatch, now, effects);
    }

    /// <summary>As a Grant of no microbatch: nothing of the step is left to be given.</summary>
    public void HandleGivenOut(int step, Instant now, PeerEffects effects)
    {
        _heardAt = now;
        if (State != PeerState.Ended)
            _schedule.HandleGivenOut(step, now, effects);
    }

    /// <summary>The orchestrator lives.</summary>
    public void HandlePulse(Instant now) => _heardAt = now;

    void Place(Placement placement, Instant now, PeerEffects effects)
    {
        if (placement.Epoch < _placement.Epoch)
            return;
        _placement = placement;
        if (placement.TryFind(profile.Peer, out Member self))
        {
            // Admitted anew: what this peer did in its former life counts no more.
            if (State == PeerState.Working && self.AdmittedEpoch != AdmittedEpoch)
            {
                State = PeerState.Member;
                _schedule.Stop();
            }
            AdmittedEpoch = self.AdmittedEpoch;
        }
        effects.Add(new PeerEffect(PeerEffectKind.Placed) { Detail = placement });
        _schedule.HandlePlacement(placement, now, effects);
    }

    void Load(OrchestratorMessage.LoadState load, PeerEffects effects)
    {
        State = PeerState.Member;
        _loading = load;
        _schedule.Stop();
        effects.Add(new PeerEffect(PeerEffectKind.Load) { Step = load.Step, Peer = load.Source });
    }

    /// <summary>The state asked for by Load is here, or why it is not.</summary>
    public void HandleLoaded(int step, string failure, Instant now, PeerEffects effects)
    {
        if (_loading is not { } load || load.Step != step)
            return;
        _loading = null;
        if (failure.Length > 0)
        {
            TimeSpan wait = _askAgainFirst * Math.Pow(2, Math.Min(_failedLoads, 10));
            wait = wait < _askAgainAtMost ? wait : _askAgainAtMost;
            _askAt = now + wait;
            string times = ++_failedLoads == 1 ? "" : $" ({_failedLoads} times in a row)";
            Tell(new PeerMessage.StateFailed(load.AdmittedEpoch, $"{failure.TrimEnd('.')}{times}; asks again in {wait.TotalSeconds:F0} s"), effects);
            return;
        }
        _failedLoads = 0;
        State = PeerState.Working;
        _placement.TryFind(profile.Peer, out Member self);
        _schedule.Begin(self.Stage, step + 1, now, effects);
        Tell(new PeerMessage.StateLoaded(load.AdmittedEpoch, step), effects);
    }

    /// <summary>This peer's machine is needed for something else: the orchestrator drains it.</summary>
    public void HandleLeaveAsked(PeerEffects effects)
    {
        IsLeaving = true;
        if (State == PeerState.Asking)
            End("left before it held a stage", effects);
        else if (State != PeerState.Ended && _isConnected)
            Tell(new PeerMessage.AsksToLeave(), effects);
    }

    void Leave(OrchestratorMessage.Leave leave, Instant now, PeerEffects effects)
    {
        _schedule.Stop();
        _loading = null;
        if (!leave.MayRejoin || IsLeaving)
        {
            End(leave.Reason, effects);
            return;
        }
        effects.Add(new PeerEffect(PeerEffectKind.Forget) { Detail = leave.Reason });
        State = PeerState.Asking;
        _hasAsked = false;
        AskToJoin(now, effects);
    }

    void End(string reason, PeerEffects effects)
    {
        EndReason = reason;
        State = PeerState.Ended;
        effects.Add(new PeerEffect(PeerEffectKind.Forget) { Detail = reason });
    }

    /// <summary>Time passes; <paramref name="open"/> is what the compute thread is at (<see cref="TaskClock.Look"/>).</summary>
    public void HandleTick(Instant now, PeerEffects effects, OpenTask open = default)
    {
        bool isMicrobatch = open.Task == ComputeTask.Microbatch;
        _open = isMicrobatch ? open with { Usual = TimeSpan.FromTicks(_schedule.ServiceNanoseconds / 100) } : open;
        if (State is PeerState.Member or PeerState.Working)
            _schedule.HandleTick(now, effects);
        AskToJoin(now, effects);
        bool isNews = _toldService == 0 && _schedule.ServiceNanoseconds > 0;
        if (!_isConnected || State == PeerState.Asking || now < _heartbeatAt && !isNews)
            return;
        _heartbeatAt = now + _heartbeatInterval;
        _toldService = _schedule.ServiceNanoseconds;
        effects.Add(new PeerEffect(PeerEffectKind.TellHeartbeat)
        {
            ServiceNanoseconds = _schedule.ServiceNanoseconds,
            SilenceNanoseconds = (now - _heardAt).Ticks * 100,
            Open = _open,
        });
    }

    static void Tell(PeerMessage message, PeerEffects effects) =>
        effects.Add(new PeerEffect(PeerEffectKind.Tell) { Detail = message });
}
