// The simulated world: peers and an orchestrator that run the production cores, a network between them, faults from the
// seed, one virtual queue. Everything that happens passes through Handle, in one order, and is folded into the trace hash:
// the same seed gives the same hash, in this process or another.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

sealed partial class SwarmWorld
{
    const string Token = "simulated";
    const long BytesPerSecond = 107_000_000;
    const long CodeBytes = 100_000;
    const double PeerTickSeconds = 0.1;
    const double OrchestratorTickSeconds = 0.2;

    readonly VirtualQueue<Happening> _queue = new();
    readonly SimNetwork _network;
    readonly SimPeer?[] _peers;
    readonly int[] _lives;
    readonly Queue<Happening>[] _deferred;
    readonly List<DurableRecord> _records = [];
    readonly Dictionary<(int Step, int Stage), ulong> _checkpoints = [];
    readonly ControlSettings _control;
    readonly ScheduleSettings _schedule;
    readonly Action<string>? _trace;
    readonly SharedProcessors? _processors;
    readonly long _codeBytes, _gradientBytes;
    Orchestrator? _orchestrator;
    SeededRandom _random;
    ulong _hash;
    bool _isEnded;
    string _endReason = "";

    public SwarmWorld(SwarmOptions options, Action<string>? trace)
    {
        Options = options;
        _trace = trace;
        _random = new SeededRandom(SeededRandom.Derive(options.Seed, 1));
        Model = new FakeModel(options.Seed, options.Stages, options.Microbatches, options.ClipNorm);
        Checks = new SwarmChecks(Model, options);
        AccessLinks? access = options.Costs is { } costs ? new AccessLinks(options.PeerCount + 1, costs.UpBytesPerSecond, costs.DownBytesPerSecond) : null;
        _network = new SimNetwork(options.PeerCount + 1, TimeSpan.FromSeconds(options.RoundTripSeconds / 2), BytesPerSecond, access);
        _processors = options.Costs is { Processors: > 0 and int shared } ? new SharedProcessors(shared) : null;
        _links = options.Links is { } rates ? new PacedLinks(rates, options.PeerCount + 1) : null;
        (_codeBytes, _gradientBytes) = (options.Costs?.CodeBytes ?? options.Links?.CodeBytes ?? CodeBytes, options.Costs?.GradientBytes ?? options.Links?.CodeBytes ?? CodeBytes);
        _peers = new SimPeer?[options.PeerCount + 1];
        _lives = new int[options.PeerCount + 1];
        _deferred = [.. Enumerable.Range(0, options.PeerCount + 1).Select(_ => new Queue<Happening>())];
        _schedule = new ScheduleSettings { StageCount = options.Stages, MicrobatchCount = options.Microbatches, CodeBytes = _codeBytes, SlackSlots = options.SlackSlots };
        if (options.Costs is not null)
            _schedule = _schedule with { AnswerLimit = TimeSpan.FromDays(1) };   // a plan's links do not tell what moves on them, and nothing breaks
        _control = new ControlSettings
        {
            Version = "1",
            ModelHash = "m",
            TokenizerHash = "t",
            StageCount = options.Stages,
            ReplicaCount = options.Replicas,
            MicrobatchCount = options.Microbatches,
            StepCount = options.Steps,
            Model = ModelCosts.Even(options.Stages * 2),
            ClipNorm = options.ClipNorm,
            CheckpointEvery = options.CheckpointEvery,
            GrantWindow = _schedule.SlotCount(0),
            ReduceWithin = options.Costs is null ? TimeSpan.FromSeconds(20) : TimeSpan.FromDays(1),
        };
    }

    public SwarmOptions Options { get; }

    public FakeModel Model { get; }

    public SwarmChecks Checks { get; }

    public SwarmProbes Probes { get; } = new();

    public Instant Now => _queue.Now;

    public long EventCount { get; private set; }

    public ulong TraceHash => _hash;

    public Orchestrator? Orchestrator => _orchestrator;

    /// <summary>Microbatch-stages computed by each peer, over all its lives.</summary>
    public int[] WorkDone { get; private set; } = [];

    /// <summary>Each fault: when it began, at which peer, and how many unfinished microbatches the peer held.</summary>
    public List<(double Seconds, FaultKinds Fault, int Peer, int Stage, int InFlight)> FaultTimes { get; } = [];

    public List<(double Seconds, int From, int Microbatch)> Reroutes { get; } = [];

    public List<(double Seconds, int Of)> Suspicions { get; } = [];

    /// <summary>When each commit was made, the undone ones too.</summary>
    public List<double> CommitSeconds { get; } = [];

    /// <summary>Beside each commit, when the last microbatch before it was computed.</summary>
    public List<double> ClosingSeconds { get; } = [];

    double LastComputeSeconds { get; set; }

    public int[] HoldersOf(int stage) =>
        [.. _peers.Where(p => p is not null && p.Core.Schedule.Stage == stage).Select(p => p!.Node)];

    public int[] ReplicasOf(int node) => [.. HoldersOf(_peers[node]!.Core.Schedule.Stage).Where(n => n != node)];

    public static int NumberOf(PeerId peer)
    {
        if (peer.IsNone)
            return -1;
        Span<byte> bytes = stackalloc byte[32];
        peer.CopyTo(bytes);
        return System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(bytes) - 1;
    }

    /// <summary>Runs to the end of the run; throws InvariantException if a property does not hold.</summary>
    public void Run()
    {
        WorkDone = new int[Options.PeerCount + 1];
        StartOrchestrator();
        Act(new OrchestratorEvent.TokenIssued(JoinTokens.Hash(Token), Options.PeerCount, 1000));
        for (int node = 1; node <= Options.PeerCount; node++)
            StartPeer(node);
        ScheduleFaults();
        var limit = Instant.FromSeconds(Options.FaultSeconds + Options.HealedSeconds);
        while (!_isEnded)
        {
            if (!_queue.TryNext(out Happening next))
                throw new InvariantException("nothing is left to happen, and the run is not done");
            if (_queue.Now > limit)
                throw new InvariantException($"no end {Options.HealedSeconds:F0} s after everything healed: {Standing()}");
            Handle(next);
        }
        SwarmChecks.Require(Checks.CommittedStep == Options.Steps, $"ended at step {Checks.CommittedStep} of {Options.Steps}: {_endReason}");
        for (int stage = 0; stage < Options.Stages; stage++)
            SwarmChecks.Require(_checkpoints[(Options.Steps, stage)] == Model.Reference(Options.Steps, stage), $"the last checkpoint of stage {stage} is not the single process's");
    }

    string Standing() => $"{_orchestrator?.Phase.ToString() ?? "no orchestrator"} {_orchestrator?.HoldReason} committed {_orchestrator?.CommittedStep} of {Options.Steps}; "
        + string.Join(", ", _peers.Where(p => p is not null).Select(p => $"{p!.Node}: {p.Core.State} step {p.Core.Schedule.Step} summed {p.Core.Schedule.Contributed} in flight {p.Core.Schedule.InFlight}{(p.Core.Schedule.IsSealed ? " sealed" : "")}{p.Core.EndReason}"));

    void Handle(Happening next)
    {
        if (IsStale(next))
            return;
        if (next.Node > 0 && _peers[next.Node] is { IsHung: true } && next.Kind is not (HappeningKind.Fault or HappeningKind.Recover))
        {
            if (next.Kind != HappeningKind.Tick || _deferred[next.Node].All(d => d.Kind != HappeningKind.Tick))
                _deferred[next.Node].Enqueue(next);
            return;
        }
        EventCount++;
        _hash = FakeModel.Hash(_hash, (ulong)_queue.Now.Nanoseconds, next.Fingerprint());
        if (_trace is not null && next.Kind is not (HappeningKind.Tick or HappeningKind.OrchestratorTick) && next.Message.Kind != WorkKind.Status
            && next.Detail is not PeerMessage.Heartbeat)
            _trace($"{_queue.Now.Seconds,10:F4}  {next}");
        Dispatch(next);
        CheckBounds(next.Node);
    }

    bool IsStale(Happening next)
    {
        bool isNetwork = next.Kind is HappeningKind.Work or HappeningKind.ToPeer or HappeningKind.ToOrchestrator or HappeningKind.Part;
        if (isNetwork && next.From != next.Node)
        {
            if (_network.Connection(next.From, next.Node) != next.Connection)
                return true;
            if (next.Node == 0 || !_peers[next.Node]!.IsHung)
                _network.Arrived(next.From, next.Node);
        }
        if (next.Kind is HappeningKind.Fault or HappeningKind.Recover or HappeningKind.Restart or HappeningKind.Heal or HappeningKind.OrchestratorRestart)
            return false;
        return next.Life != _lives[next.Node] && !isNetwork || next.Node > 0 && _peers[next.Node] is null || next.Node == 0 && _orchestrator is null;
    }

    void Dispatch(Happening next)
    {
        SimPeer? peer = next.Node > 0 ? _peers[next.Node] : null;
        switch (next.Kind)
        {
            case HappeningKind.Tick:
                peer!.Handle(e => peer.Core.HandleTick(Now, e, peer.Look()));
                Pump(next.Node);
                After(PeerTickSeconds, next);
                break;
            case HappeningKind.OrchestratorTick:
                Act(new OrchestratorEvent.Tick());
                After(OrchestratorTickSeconds, next);
                break;
            case HappeningKind.Work:
                peer!.HandleMessage(next.From, next.Message, next.Payload);
                break;
            case HappeningKind.PieceLeft:
                PieceLeft(next);
                break;
            case HappeningKind.Acknowledged:
                Acknowledged(peer!, next);
                break;
            case HappeningKind.ToPeer:
                peer!.Handle(e => peer.Core.HandleControl((OrchestratorMessage)next.Detail!, Now, e));
                break;
            case HappeningKind.ToOrchestrator:
                Act(new OrchestratorEvent.Received(PeerId.FromNumber(next.From), (PeerMessage)next.Detail!, 0));
                break;
            case HappeningKind.Part:
                peer!.HandlePart(next.From, (GradientPart)next.Detail!);
                break;
            case HappeningKind.Computed or HappeningKind.Reduced or HappeningKind.Applied or HappeningKind.Loaded when peer!.IsComputeHung:
                _deferred[next.Node].Enqueue(next);
                break;
            case HappeningKind.Computed:
                Computed(peer!, next);
                break;
            case HappeningKind.Reduced:
                peer!.Reduced(next.ReduceId);
                break;
            case HappeningKind.Applied:
                peer!.Applied(next);
                break;
            case HappeningKind.Loaded:
                Loaded(peer!, next);
                break;
            case HappeningKind.CheckpointWritten:
                Tell(next.Node, new PeerMessage.CheckpointWritten(next.Serial, next.Step, next.Stage));
                break;
            case HappeningKind.LinkUp or HappeningKind.LinkDown:
                Link(peer, next);
                break;
            default:
                HandleFault(next);
                break;
        }
    }

    void Computed(SimPeer peer, Happening next)
    {
        WorkDone[peer.Node] += next.Compute == ComputeKind.Forward ? 0 : 1;
        LastComputeSeconds = Now.Seconds;
        peer.Computed(next);
    }

    void CheckBounds(int node)
    {
        if (node == 0 || _peers[node] is not { } peer)
            return;
        PeerSchedule schedule = peer.Core.Schedule;
        SwarmChecks.Require(schedule.InFlight <= Math.Max(schedule.SlotCount, 0), $"peer {node} holds {schedule.InFlight} unfinished microbatches in {schedule.SlotCount} slots");
        SwarmChecks.Require(peer.KeptCount <= 2 * Options.Microbatches, $"peer {node} keeps codes of {peer.KeptCount} microbatches");
    }

    /// <summary>From now to the end of a compute that a peer calls now.</summary>
    public double Serve(double seconds) => _processors?.Serve(Now, seconds) ?? seconds;

    public void After(double seconds, Happening what) => _queue.After(TimeSpan.FromSeconds(seconds), what);

    // Orchestrator side: perform the effects of one event in order; a torn crash stops in the middle.
    void Act(OrchestratorEvent input)
    {
        int stopAfter = _tearNext ? _random.NextBelow(6) : int.MaxValue;
        int committed = _orchestrator!.CommittedStep;
        if (_orchestrator.Phase == RunPhase.Reducing && input is OrchestratorEvent.Received { Message: PeerMessage.Hello })
            Probes.Hit(Probe.HelloWhileReducing);
        IReadOnlyList<OrchestratorEffect> effects = _orchestrator.Step(input, Now);
        if (effects.Count <= stopAfter)
            stopAfter = int.MaxValue;
        for (int i = 0; i < effects.Count; i++)
        {
            if (i == stopAfter)
            {
                Probes.Hit(Probe.TornEffects);
                CrashOrchestrator();
                return;
            }
            Probes.See(effects[i], _orchestrator.Phase);
            if (effects[i] is OrchestratorEffect.Send { Message: OrchestratorMessage.Commit commit } && commit.Step == committed)
                Probes.Hit(Probe.CommitResent);
            Perform(effects[i]);
        }
    }

    void Perform(OrchestratorEffect effect)
    {
        switch (effect)
        {
            case OrchestratorEffect.Persist persist:
                _records.Add(persist.Record);
                Checks.Persisted(persist.Record);
                _trace?.Invoke($"{_queue.Now.Seconds,10:F4}  LOG {persist.Record.GetType().Name} {(persist.Record is DurableRecord.PlacementPublished ? "" : persist.Record)}");
                if (persist.Record is DurableRecord.StepCommitted)
                {
                    CommitSeconds.Add(Now.Seconds);
                    ClosingSeconds.Add(Now.Seconds - LastComputeSeconds);
                }

                if (persist.Record is DurableRecord.PeerRemoved lost)
                    Removals.Add((Now.Seconds, NumberOf(lost.Peer), lost.Reason));
                if (persist.Record is DurableRecord.PeerRemoved removed && Options.Costs is not null)
                    throw new InvariantException($"a peer is removed: {removed.Reason}");   // nothing is wrong with any in a plan
                if (persist.Record is DurableRecord.RunEnded ended)
                    (_isEnded, _endReason) = (true, ended.Reason);
                break;
            case OrchestratorEffect.Send send:
                SendControl(NumberOf(send.Peer), send.Message);
                break;
            case OrchestratorEffect.Note note:
                _trace?.Invoke($"{_queue.Now.Seconds,10:F4}  NOTE {note.Text}");
                break;
            default:
                throw new InvalidOperationException(effect.GetType().Name);
        }
    }

    void SendControl(int to, OrchestratorMessage message)
    {
        if (message is OrchestratorMessage.Grant { Attempt: > 1 } again)
            Reroutes.Add((Now.Seconds, 0, again.Microbatches[0]));
        if (!_network.IsUp(0, to))
            return;
        _queue.At(_network.Arrival(0, to, 200, Now), new Happening(HappeningKind.ToPeer, to) { Connection = _network.Connection(0, to), Detail = message });
        CheckInFlight(0, to);
    }

    public void Tell(int from, PeerMessage message)
    {
        if (message is PeerMessage.Suspects suspects)
        {
            Probes.Hit(Probe.Suspected);
            if (Suspicions.Count < 10_000)
                Suspicions.Add((Now.Seconds, NumberOf(suspects.Peer)));
        }
        else if (message is PeerMessage.ReduceRefused)
            Probes.Hit(Probe.ReduceRefused);
        else if (message is PeerMessage.StateFailed)
            Probes.Hit(Probe.StateFailed);
        if (!_network.IsUp(0, from))
            return;
        _queue.At(_network.Arrival(from, 0, 200, Now), new Happening(HappeningKind.ToOrchestrator, 0) { From = from, Connection = _network.Connection(0, from), Detail = message });
    }

    public void SendWork(int from, int to, in WorkMessage message, ulong payload)
    {
        Probes.See(message);
        if (message.Kind == WorkKind.Forward && message.Work.Attempt > 1 && Reroutes.Count < 10_000)
            Reroutes.Add((Now.Seconds, from, message.Work.Microbatch));
        if (!_network.IsUp(from, to))
            return;
        long bytes = message.Kind == WorkKind.Forward ? _codeBytes : message.Kind == WorkKind.Gradient ? _gradientBytes : 64;
        var happening = new Happening(HappeningKind.Work, to) { From = from, Connection = _network.Connection(from, to), Message = message, Payload = payload };
        if (_links is { } links && bytes > 64)
            SendOverLink(links, from, to, isBulk: false, happening);
        else
            _queue.At(_network.Arrival(from, to, bytes, Now), happening);
        if (Options.Faults.HasFlag(FaultKinds.Duplicates) && message.Kind != WorkKind.Answer && _random.NextChance(0.01))
            _queue.At(_network.Arrival(from, to, bytes, Now), happening);
        CheckInFlight(from, to);
    }

    /// <summary>Number of the connection between two nodes; another after each break.</summary>
    public int ConnectionOf(int a, int b) => _network.Connection(a, b);

    /// <summary>False if they are not connected.</summary>
    public bool TrySendPart(int from, int to, int stage, GradientPart part)
    {
        if (!_network.IsUp(from, to))
            return false;
        long bytes = Options.Costs is { } costs ? costs.Stages[stage].ShareBytes : CodeBytes;
        var happening = new Happening(HappeningKind.Part, to) { From = from, Connection = _network.Connection(from, to), Step = part.Transfer.Step, Payload = part.Transfer.Name, Detail = part };
        if (_links is { } links)
        {
            SendOverLink(links, from, to, isBulk: true, happening);
            return true;
        }
        Instant at = _network.Arrival(from, to, bytes, Now, isBulk: true);
        _queue.At(at, happening);
        // a copy that strays: behind later shares, into the next step, into the receiver's next life as long as the connection lives
        if (Options.Faults.HasFlag(FaultKinds.Duplicates) && _random.NextChance(0.2))
        {
            _network.Strays(from, to);
            _queue.At(at + TimeSpan.FromSeconds(_random.NextBetween(0, 5)), happening);
        }
        return true;
    }

    void CheckInFlight(int from, int to)
    {
        bool isStopped = to > 0 && _peers[to] is { IsHung: true } || _network.WasSilent(from, to, Now);
        SwarmChecks.Require(isStopped || _network.OnTheWay(from, to) <= Checks.MessagesBetweenTwo,
            $"{_network.OnTheWay(from, to)} messages are on the way from {from} to {to}");
    }

    public void BeginLoad(SimPeer peer, int step, int source, int serial) =>
        After(_random.NextBetween(0.05, 1), new Happening(HappeningKind.Loaded, peer.Node) { From = source, Life = peer.Life, Serial = serial, Step = step });

    void Loaded(SimPeer peer, Happening next)
    {
        peer.EndLoad();
        if (next.From < 0)
        {
            int stage = peer.Core.Placement.TryFind(PeerId.FromNumber(peer.Node), out Member self) ? self.Stage : 0;
            peer.Loaded(next, next.Step == 0 ? Model.Reference(0, stage) : _checkpoints[(next.Step, stage)], "");
            return;
        }
        SimPeer? source = _peers[next.From];
        bool isReachable = source is not null && _network.IsUp(peer.Node, next.From);
        if (isReachable && (source!.IsHung || source.AppliedStep < next.Step && source.AppliedStep >= 0))
            After(0.2, next);
        else if (isReachable && source!.AppliedStep == next.Step)
            peer.Loaded(next, source.Weights, "");
        else
            peer.Loaded(next, 0, $"peer {next.From} does not offer step {next.Step}");
    }

    public void WriteCheckpoint(SimPeer peer, int step, int stage, ulong weights)
    {
        _checkpoints[(step, stage)] = weights;
        After(_random.NextBetween(0.02, 3), new Happening(HappeningKind.CheckpointWritten, peer.Node) { Life = peer.Life, Serial = peer.Core.AdmittedEpoch, Step = step, Stage = stage });
    }
}
