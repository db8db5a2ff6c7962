// Processes that start and end, connections that open and break, and the faults that the seed draws. At FaultSeconds all of
// it heals: what is down restarts, what hangs wakes, what is silent speaks; from then on the run must finish.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

sealed partial class SwarmWorld
{
    static readonly FaultKinds[] _drawn =
    [
        FaultKinds.Crash, FaultKinds.Hang, FaultKinds.Slow, FaultKinds.LinkBreak, FaultKinds.Blackhole, FaultKinds.Partition,
        FaultKinds.OrchestratorCrash, FaultKinds.TornEffects, FaultKinds.Drain, FaultKinds.ComputeHang,
    ];

    const double PauseSeconds = 3;

    /// <summary>The longest quiet between two neighbours: one status interval.</summary>
    const double RefusedAfterSeconds = 0.25;
    const int ProcessGone = 1;

    bool _tearNext;

    void StartOrchestrator()
    {
        if (Options.Sabotage == Sabotage.ForgetLastRecord && _records.Count > 0)
        {
            int last = _records.FindLastIndex(r => r is DurableRecord.StepCommitted);
            if (last >= 0)
                _records.RemoveAt(last);
        }
        _orchestrator = Orchestrator.Restore(_control, _records);
        _lives[0]++;
        Act(new OrchestratorEvent.Started());
        After(OrchestratorTickSeconds, new Happening(HappeningKind.OrchestratorTick, 0) { Life = _lives[0] });
        for (int node = 1; node <= Options.PeerCount; node++)
            Connect(0, node);
    }

    void StartPeer(int node)
    {
        var profile = new PeerProfile(PeerId.FromNumber(node), "1", "m", "t", 1L << 40, 1, $"node{node}");
        _lives[node]++;
        var core = new PeerCore(profile, Token, _schedule, Options.Routing, SeededRandom.Derive(Options.Seed, (ulong)(node * 1000 + _lives[node])));
        _peers[node] = new SimPeer(node, core, this, _lives[node]);
        _deferred[node].Clear();
        After(PeerTickSeconds * _random.NextUnit(), new Happening(HappeningKind.Tick, node) { Life = _lives[node] });
        for (int other = 0; other <= Options.PeerCount; other++)
        {
            if (other != node)
                Connect(node, other);
        }
    }

    bool IsAlive(int node) => node == 0 ? _orchestrator is not null : _peers[node] is not null;

    // Both ends hear of a connection after a round trip, of a break after half of one.
    void Connect(int a, int b)
    {
        if (!IsAlive(a) || !IsAlive(b) || _network.IsUp(a, b))
            return;
        _network.Open(a, b);
        Inform(HappeningKind.LinkUp, a, b, Options.RoundTripSeconds, serial: 0);
    }

    void Disconnect(int a, int b)
    {
        if (!_network.IsUp(a, b))
            return;
        _network.Close(a, b);
        _links?.Drop(a, b);
        Inform(HappeningKind.LinkDown, a, b, Options.RoundTripSeconds / 2, serial: 0);
    }

    // A process that is gone closes nothing: its host refuses what the others send next, twice a round trip apart.
    void Vanish(int gone, int other)
    {
        if (!_network.IsUp(gone, other))
            return;
        _network.Close(gone, other);
        _links?.Drop(gone, other);
        Inform(HappeningKind.LinkDown, gone, other, RefusedAfterSeconds + 2 * Options.RoundTripSeconds, ProcessGone);
    }

    void Inform(HappeningKind kind, int a, int b, double seconds, int serial)
    {
        int connection = _network.Connection(a, b);
        After(seconds, new Happening(kind, a) { From = b, Life = _lives[a], Connection = connection, Serial = serial });
        After(seconds, new Happening(kind, b) { From = a, Life = _lives[b], Connection = connection, Serial = serial });
    }

    void Link(SimPeer? peer, Happening next)
    {
        bool isUp = next.Kind == HappeningKind.LinkUp;
        if (!isUp && next.Serial == ProcessGone && _network.Connection(next.From, next.Node) != next.Connection)
            return;   // a newer connection of the restarted process took its place
        if (next.Node == 0)
        {
            if (!isUp)
                Act(new OrchestratorEvent.Disconnected(PeerId.FromNumber(next.From), IsGone: next.Serial == ProcessGone));
            return;
        }
        if (next.From == 0)
        {
            if (isUp)
                peer!.Handle(e => peer.Core.HandleOrchestratorConnected(Now, e));
            else
                peer!.Core.HandleOrchestratorLost();
            return;
        }
        if (isUp)
            peer!.Core.Schedule.HandleLinkMeasured(PeerId.FromNumber(next.From), TimeSpan.FromSeconds(Options.RoundTripSeconds), 0, TimeSpan.Zero);
        peer!.Handle(e => peer.Core.Schedule.HandleLink(PeerId.FromNumber(next.From), isUp, Now, e));
    }

    void ScheduleFaults()
    {
        foreach ((double seconds, FaultKinds fault, int node) in Options.Script)
            _queue.At(Instant.FromSeconds(seconds), new Happening(HappeningKind.Fault, node) { Fault = fault });
        FaultKinds[] kinds = [.. _drawn.Where(f => Options.Faults.HasFlag(f))];
        double at = 1;
        while (kinds.Length > 0)
        {
            at += _random.NextExponential(60 / Options.FaultsPerMinute);
            if (at >= Options.FaultSeconds)
                break;
            _queue.At(Instant.FromSeconds(at), new Happening(HappeningKind.Fault, 1 + _random.NextBelow(Options.PeerCount)) { Fault = kinds[_random.NextBelow(kinds.Length)] });
        }
        _queue.At(Instant.FromSeconds(Options.FaultSeconds), new Happening(HappeningKind.Heal, 0));
    }

    void HandleFault(Happening next)
    {
        switch (next.Kind)
        {
            case HappeningKind.Fault:
                FaultTimes.Add((Now.Seconds, next.Fault, next.Node, _peers[next.Node]?.Core.Schedule.Stage ?? -1, _peers[next.Node]?.Core.Schedule.InFlight ?? 0));
                Begin(next.Fault, next.Node, Options.Faults == FaultKinds.None ? Options.ScriptedFaultSeconds : _random.NextBetween(0.3, 14));
                break;
            case HappeningKind.Recover when next.Fault is FaultKinds.LinkBreak:
                Connect(next.Node, next.From);
                break;
            case HappeningKind.Recover:
                Recover(next.Fault, next.Node, next.Life);
                break;
            case HappeningKind.Restart when !IsAlive(next.Node):
                StartPeer(next.Node);
                break;
            case HappeningKind.OrchestratorRestart when _orchestrator is null:
                Probes.Hit(Probe.OrchestratorRestart);
                StartOrchestrator();
                break;
            case HappeningKind.Heal:
                Heal();
                break;
            default:
                break;
        }
    }

    void Begin(FaultKinds fault, int node, double seconds)
    {
        SimPeer? peer = _peers[node];
        int other = _random.NextBelow(Options.PeerCount + 1);
        switch (fault)
        {
            case FaultKinds.Crash when peer is not null:
                CrashPeer(node);
                After(seconds, new Happening(HappeningKind.Restart, node));
                break;
            case FaultKinds.Hang when peer is not null:
                peer.IsHung = true;
                After(seconds, new Happening(HappeningKind.Recover, node) { Fault = fault, Life = _lives[node] });
                break;
            case FaultKinds.ComputeHang when peer is not null:
                peer.IsComputeHung = true;
                After(seconds, new Happening(HappeningKind.Recover, node) { Fault = fault, Life = _lives[node] });
                break;
            case FaultKinds.HangInSum or FaultKinds.HangInApply or FaultKinds.HangInLoad or FaultKinds.PauseInSum when peer is not null:
                peer.HangsIn = fault;
                break;
            case FaultKinds.Slow when peer is not null:
                peer.Slowness = _random.NextBetween(2, 8);
                After(seconds, new Happening(HappeningKind.Recover, node) { Fault = fault, Life = _lives[node] });
                break;
            case FaultKinds.LinkBreak when other != node:
                Disconnect(node, other);
                After(Math.Min(seconds, 4), new Happening(HappeningKind.Recover, node) { Fault = fault, From = other });
                break;
            case FaultKinds.Blackhole when other != node:
                _network.Silence(node, other, Now + TimeSpan.FromSeconds(seconds));
                break;
            case FaultKinds.BlackholeOut or FaultKinds.BlackholeIn:
                for (int end = 0; end <= Options.PeerCount; end++)
                    _network.Silence(fault == FaultKinds.BlackholeOut ? node : end, fault == FaultKinds.BlackholeOut ? end : node, Now + TimeSpan.FromSeconds(20));
                break;
            case FaultKinds.Partition:
                Partition(seconds);
                break;
            case FaultKinds.OrchestratorCrash when _orchestrator is not null:
                CrashOrchestrator();
                break;
            case FaultKinds.TornEffects:
                _tearNext = true;
                break;
            case FaultKinds.Drain when _orchestrator is not null && _random.NextChance(0.3):
                // by the operator of the run, or by that of the machine
                if (node % 2 == 0 || peer is not { IsHung: false })
                    Act(new OrchestratorEvent.DrainAsked(PeerId.FromNumber(node)));
                else
                    peer.Handle(peer.Core.HandleLeaveAsked);
                After(seconds, new Happening(HappeningKind.Recover, node) { Fault = fault });
                break;
            default:
                break;
        }
    }

    /// <summary>The task has begun in which a scripted fault strikes.</summary>
    public void HangNow(SimPeer peer, FaultKinds fault)
    {
        FaultTimes.Add((Now.Seconds, fault, peer.Node, peer.Core.Schedule.Stage, peer.Core.Schedule.InFlight));
        bool isPause = fault == FaultKinds.PauseInSum;
        (peer.IsHung, peer.IsComputeHung) = (isPause, !isPause);
        After(isPause ? PauseSeconds : Options.ScriptedFaultSeconds, new Happening(HappeningKind.Recover, peer.Node) { Fault = isPause ? FaultKinds.Hang : FaultKinds.ComputeHang, Life = _lives[peer.Node] });
    }

    // Each node is on one of two sides; the sides do not hear each other, and some connections do not survive it.
    void Partition(double seconds)
    {
        ulong side = _random.NextWord();
        for (int a = 0; a <= Options.PeerCount; a++)
        {
            for (int b = 0; b < a; b++)
            {
                if ((side >> a & 1) == (side >> b & 1))
                    continue;
                _network.Silence(a, b, Now + TimeSpan.FromSeconds(seconds));
                _network.Silence(b, a, Now + TimeSpan.FromSeconds(seconds));
            }
        }
    }

    void Recover(FaultKinds fault, int node, int life)
    {
        if (fault == FaultKinds.Drain)
        {
            // The operator starts the machine again, be it drained or still waiting to be.
            if (_peers[node] is { Core: { State: PeerState.Ended } or { IsLeaving: true } })
            {
                CrashPeer(node);
                StartPeer(node);
            }
            return;
        }
        if (_peers[node] is not { } peer || life != _lives[node])
            return;
        if (fault == FaultKinds.Slow)
        {
            peer.Slowness = 1;
            return;
        }
        peer.IsHung &= fault != FaultKinds.Hang;
        peer.IsComputeHung &= fault != FaultKinds.ComputeHang;
        if (peer.IsHung)
            return;
        // What waited for the process happens now, in the order in which it came.
        Happening[] waited = [.. _deferred[node]];
        _deferred[node].Clear();
        foreach (Happening happening in waited)
            _queue.At(Now, happening);
    }

    void CrashPeer(int node)
    {
        _peers[node] = null;
        _lives[node]++;
        _links?.Died(node);
        _deferred[node].Clear();
        for (int other = 0; other <= Options.PeerCount; other++)
        {
            if (other != node)
                Vanish(node, other);
        }
    }

    void CrashOrchestrator()
    {
        _tearNext = false;
        _orchestrator = null;
        _lives[0]++;
        for (int node = 1; node <= Options.PeerCount; node++)
            Disconnect(0, node);
        After(_random.NextBetween(0.2, 6), new Happening(HappeningKind.OrchestratorRestart, 0));
    }

    void Heal()
    {
        _network.Heal();
        if (_orchestrator is null)
            StartOrchestrator();
        for (int node = 1; node <= Options.PeerCount; node++)
        {
            if (!IsAlive(node))
                StartPeer(node);
            Recover(FaultKinds.Hang, node, _lives[node]);
            Recover(FaultKinds.ComputeHang, node, _lives[node]);
            Recover(FaultKinds.Slow, node, _lives[node]);
            Recover(FaultKinds.Drain, node, _lives[node]);
            for (int other = 0; other < node; other++)
                Connect(node, other);
        }
    }
}
