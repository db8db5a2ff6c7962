// A peer as a process: it turns sockets, a compute thread and the clock into events for one PeerCore and performs the
// core's effects. One loop thread owns the core; transport threads and the compute thread only post to it.
//   transport -> loop      messages, links up and down       loop -> compute      forward, backward, apply, load, save
//   compute -> loop        what is done                       loop -> transport    codes, answers, words to the orchestrator
using System.Collections.Concurrent;
using System.Net;
using System.Text;
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>How a peer takes part.</summary>
/// <param name="Join">The run's orchestrator and the token.</param>
/// <param name="Identity">Who this peer is.</param>
/// <param name="Listen">Where it listens; port 0 takes a free one.</param>
/// <param name="Advertise">The address that other peers dial, or null for the bound one.</param>
/// <param name="Device">Device selector.</param>
/// <param name="Threads">CPU threads.</param>
/// <param name="RehearseSeconds">A microbatch takes at least this long, a third of it forward: rehearses a slower device. 0: as
/// fast as it goes.</param>
/// <param name="StateDirectory">The only folder that this peer reads and writes.</param>
/// <param name="Log">Takes a sentence for the operator.</param>
sealed record PeerHostOptions(
    JoinString Join, NodeIdentity Identity, IPEndPoint Listen, string? Advertise, string Device, int Threads, double RehearseSeconds, string StateDirectory, Action<string> Log)
{
    /// <summary>Bytes that this machine offers for a stage; 0: what the runtime sees.</summary>
    public long MemoryBytes { get; init; }

    /// <summary>Speed beside other peers; 0: measured now, in GFLOP/s of the device's peak.</summary>
    public double Speed { get; init; }

    /// <summary>A failure that this peer rehearses, or null.</summary>
    public HangDrill? Drill { get; init; }

    /// <summary>The only model that this peer wants to train, or null for whatever the run trains.</summary>
    public ModelConfig? Model { get; init; }

    /// <summary>Hash of the only tokenizer that this peer accepts, or null.</summary>
    public string? TokenizerHash { get; init; }

    /// <summary>What it calls itself; tests play another version.</summary>
    public string Version { get; init; } = PeerHost.Version;

    /// <summary>A first contact that takes longer is an error.</summary>
    public TimeSpan ContactWithin { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>An orchestrator that was here and stays away for longer is given up.</summary>
    public TimeSpan AwayAtMost { get; init; } = DefaultAwayAtMost;

    /// <summary>Time for an operator to see that the orchestrator is gone, and to resume it.</summary>
    public static TimeSpan DefaultAwayAtMost { get; } = TimeSpan.FromMinutes(30);
}

sealed partial class PeerHost : IDisposable
{
    static readonly TimeSpan _tickEvery = TimeSpan.FromMilliseconds(50);
    static readonly TimeSpan _redialEvery = TimeSpan.FromMilliseconds(300);

    readonly PeerHostOptions _options;
    readonly Mailbox<LoopEvent> _loop = new();
    readonly PeerEffects _effects = new();
    readonly ITransportEndpoint _endpoint;
    readonly PeerId _self;
    readonly NodeId _orchestrator;
    readonly IPEndPoint _orchestratorAddress;
    readonly Dictionary<PeerId, PeerLink> _links = [];
    readonly ConcurrentDictionary<PeerId, IPEndPoint> _directory = new();
    readonly Dictionary<PeerId, long> _dialledAt = [];
    readonly DuplicateWindow _window = new();
    readonly LinkOptions _linkOptions;
    PeerLink? _toOrchestrator;
    bool _orchestratorIsOpen;
    PeerCounts _endedLinks;
    long _orchestratorSeenAt = TimeProvider.System.GetTimestamp();
    bool _wasInContact;
    string _lastRefusal = "nothing answers";
    string? _turnedAway;
    PeerCore? _core;
    PeerWork? _work;

    public PeerHost(PeerHostOptions options)
    {
        _options = options;
        _self = options.Identity.Id.ToPeerId();
        _orchestrator = options.Join.NodeId;
        _orchestratorAddress = Endpoints.Resolve(options.Join.Host, options.Join.Port, options.Listen);
        _linkOptions = new LinkOptions { Run = PeerIds.RunOf(_orchestrator), Window = _window };
        _endpoint = Endpoints.Open(options.Identity, options.Join.Transport, new TransportOptions
        {
            Listen = options.Listen,
            Admit = Admit,
            IdleTimeout = TimeSpan.FromSeconds(10),
            KeepAlive = TimeSpan.FromSeconds(2),
            Log = options.Log,
        });
    }

    static Instant Now => new(TimeProvider.System.GetElapsedTime(0).Ticks * 100);

    string Address => _options.Advertise ?? _endpoint.LocalAddress.ToString();

    /// <summary>True when the run did not want this peer.</summary>
    public bool WasRefused { get; private set; }

    /// <summary>True when the run let this peer go: it ended, or another one has this peer's work.</summary>
    public bool IsReleased => _core is { State: PeerState.Ended };

    /// <summary>Works until the run ends, this peer is sent away, or somebody interrupts and what it holds is in other hands.
    /// Returns why.</summary>
    public string Run(CancellationToken interrupt)
    {
        long ticked = 0;
        while (_turnedAway is null && !IsReleased)
        {
            if (interrupt.IsCancellationRequested)
            {
                // who has nothing, or nobody to hand it over to, need not wait
                if (_core is null || !_orchestratorIsOpen)
                {
                    break;
                }

                if (!_core.IsLeaving)
                {
                    Step(core => core.HandleLeaveAsked(_effects));
                    continue;
                }
            }

            // what has arrived is heard before the clock: a pause of this process is not its neighbours' silence
            for (bool waits = true; _loop.TryTake(out LoopEvent next, waits ? _tickEvery : TimeSpan.Zero); waits = false)
            {
                Happened(next);
            }

            if (TimeProvider.System.GetElapsedTime(ticked) >= _tickEvery)
            {
                ticked = TimeProvider.System.GetTimestamp();
                Tick();
            }
        }

        return _turnedAway ?? (_core?.EndReason is { Length: > 0 } reason ? reason : "interrupted");
    }

    void Tick()
    {
        if (_orchestratorIsOpen)
        {
            (_orchestratorSeenAt, _wasInContact) = (TimeProvider.System.GetTimestamp(), true);
        }
        else if (TimeProvider.System.GetElapsedTime(_orchestratorSeenAt) is var away && away > (_wasInContact ? _options.AwayAtMost : _options.ContactWithin))
        {
            throw new IOException($"no orchestrator {_orchestrator.Short} at {_orchestratorAddress} for {away.TotalSeconds:F0} s: {_lastRefusal}. Check the join string, that the orchestrator runs, and that {(_endpoint.Kind == TransportKind.Quic ? "UDP" : "TCP")} port {_orchestratorAddress.Port} is open");
        }

        if (_toOrchestrator is null && IsTimeToDial(PeerId.None))
        {
            _toOrchestrator = new PeerLink(_linkOptions, new Handler(this, isOrchestrator: true));
            _endpoint.Dial(_orchestratorAddress, _orchestrator, _toOrchestrator);
        }

        if (_core is null)
        {
            return;
        }

        DialNeighbours(_core.Placement);
        foreach ((PeerId peer, PeerLink link) in _links)
        {
            LinkStatistics measured = link.Statistics;
            _core.Schedule.HandleAcknowledged(peer, measured.Sent.AcknowledgedBytes, Now);
            if (measured.RttNanoseconds > 0)
            {
                _core.Schedule.HandleLinkMeasured(peer, TimeSpan.FromTicks(measured.RttNanoseconds / 100), 0, default);
            }
        }

        _effects.Clear();
        _core.HandleTick(Now, _effects, _work!.Look());
        Perform();
    }

    /// <summary>Runs one event through the core and performs what it asks for; for what does not happen with every
    /// microbatch.</summary>
    void Step(Action<PeerCore> happening)
    {
        if (_core is null)
        {
            return;
        }

        _effects.Clear();
        happening(_core);
        Perform();
    }

    void Post(Action what) => _loop.Add(LoopEvent.Of(what));

    bool IsTimeToDial(PeerId peer)
    {
        if (_dialledAt.TryGetValue(peer, out long at) && TimeProvider.System.GetElapsedTime(at) < _redialEvery)
        {
            return false;
        }

        _dialledAt[peer] = TimeProvider.System.GetTimestamp();
        return true;
    }

    // Neighbours are the holders of this stage and of the ones beside it; of two, the one with the smaller id dials.
    void DialNeighbours(Placement placement)
    {
        if (!placement.TryFind(_self, out Member self))
        {
            return;
        }

        foreach (Member member in placement.Members)
        {
            bool isNeighbour = member.Peer != _self && Math.Abs(member.Stage - self.Stage) <= 1;
            if (isNeighbour && _self.CompareTo(member.Peer) < 0 && !_links.ContainsKey(member.Peer)
                && _directory.TryGetValue(member.Peer, out IPEndPoint? address) && IsTimeToDial(member.Peer))
            {
                PeerLink link = new(_linkOptions, Neighbour());
                _links[member.Peer] = link;
                link.Tag = member.Peer;
                _endpoint.Dial(address, member.Peer.ToNodeId(), link);
            }
        }
    }

    // Called on the transport's thread: only peers that the orchestrator has named may connect.
    Admission Admit(ITransportConnection connection) =>
        _directory.ContainsKey(connection.RemoteNodeId.ToPeerId())
            ? Admission.Accept(new PeerLink(_linkOptions, Neighbour()))
            : Admission.Refuse($"{connection.RemoteNodeId.Short} is not a peer of this run's placement");

    /// <summary>What hears a neighbour's link.</summary>
    internal ILinkHandler Neighbour() => new Handler(this, isOrchestrator: false);

    void LinkUp(PeerLink link, PeerId peer)
    {
        if (_links.TryGetValue(peer, out PeerLink? known) && known != link && known.Tag is bool)
        {
            // what was on its way over it is lost, as when it closes by itself
            LinkDown(known, peer);
            known.Close("a newer connection of the same peer replaced it");
        }

        _links[peer] = link;
        link.Tag = true;
        _work?.GrantTo(link);
        Step(core => core.Schedule.HandleLink(peer, isUp: true, Now, _effects));
    }

    void LinkDown(PeerLink link, PeerId peer)
    {
        if (!_links.TryGetValue(peer, out PeerLink? known) || known != link)
        {
            return;
        }

        _links.Remove(peer);
        _endedLinks += _core is null ? default : PeerCounts.Of(link, StagesAhead(peer));
        Step(core => core.Schedule.HandleLink(peer, isUp: false, Now, _effects));
    }

    void OrchestratorUp()
    {
        _orchestratorIsOpen = true;
        _work?.OrchestratorIs(_toOrchestrator);
        if (_core is not null)
        {
            Step(core => core.HandleOrchestratorConnected(Now, _effects));
            return;
        }

        _ = Describe(_toOrchestrator!);
    }

    async Task Describe(PeerLink link)
    {
        try
        {
            Response response = await link.RequestAsync((byte[])[(byte)ControlTag.Describe, .. Encoding.UTF8.GetBytes(_options.Join.Token)], TimeSpan.FromSeconds(10));
            Post(() => Described(response));
        }
        catch (Exception error) when (error is IOException or TimeoutException)
        {
            _options.Log($"the orchestrator did not describe the run: {error.Message}");
            link.Close("no description");
        }
    }

    void Described(Response response)
    {
        if (response.Status != 0)
        {
            (WasRefused, _turnedAway) = (true, Encoding.UTF8.GetString(response.Body));
        }
        else if (_core is null)   // asked twice, if the link broke between question and answer
        {
            Begin(RunDescription.Decode(response.Body));
        }
    }

    void Begin(RunDescription run)
    {
        _work = new PeerWork(run, _options, _self, _loop, () => _links, Step, () => _effects, () => Now) { RunNumber = _linkOptions.Run };
        _work.OrchestratorIs(_toOrchestrator);
        string model = (_options.Model is null ? run : run with { Model = Own(run.Model, _options.Model) }).ModelHash;
        PeerProfile profile = new(_self, _options.Version, model, _options.TokenizerHash ?? run.TokenizerHash, _work.MemoryBytes, _work.Speed, Address, _work.PeakFlops, _work.IsApart);
        _core = new PeerCore(profile, _options.Join.Token, _work.Schedule, new PathfinderSettings(), (ulong)_self.GetHashCode());
        Step(core => core.HandleOrchestratorConnected(Now, _effects));
    }

    // What a model file does not say comes with the run: the vocabulary, and where and how it is cut.
    static ModelConfig Own(ModelConfig run, ModelConfig own) => own with
    {
        Vocabulary = run.Vocabulary,
        Boundary = run.Boundary,
        Boundaries = run.Boundaries,
        CodeWidth = run.CodeWidth,
        AnchorRank = run.AnchorRank,
    };

    /// <summary>The version that every process of a run must share.</summary>
    public static string Version { get; } = typeof(PeerHost).Assembly.GetName().Version?.ToString(3) ?? "0";

    void OrchestratorDown(CloseReason reason)
    {
        if (_orchestratorIsOpen)
        {
            _options.Log($"the orchestrator is away ({reason.Text}); this peer keeps its work and waits {_options.AwayAtMost.TotalSeconds:F0} s for it to be resumed");
        }

        _lastRefusal = reason.Text;
        _toOrchestrator = null;
        _orchestratorIsOpen = false;
        _work?.OrchestratorIs(null);
        _core?.HandleOrchestratorLost();
    }

    void FromOrchestrator(byte[] body)
    {
        OrchestratorMessage message = (ControlTag)body[0] switch
        {
            ControlTag.Placement => ControlCodec.DecodePlacement(body, _directory),
            ControlTag.Reduce => ControlCodec.DecodeReduce(body),
            _ => ControlCodec.Decode<OrchestratorMessage>(body.AsSpan(1)).Message,
        };
        if (message is OrchestratorMessage.Refused refused)
        {
            WasRefused = true;
            _turnedAway = _core is null ? refused.Text : _turnedAway;   // refused before it knew enough to ask
        }

        Step(core => core.HandleControl(message, Now, _effects));
    }

    void Tell(PeerMessage message, System.Text.Json.Nodes.JsonObject? beside = null)
    {
        if (message is PeerMessage.Applied)
        {
            TellFigures();
        }

        Tell(ControlCodec.Encode(ControlTag.FromPeer, message, beside));
    }

    void Tell(ReadOnlySpan<byte> wire)
    {
        if (_orchestratorIsOpen && _toOrchestrator is { } link)
        {
            link.Tell(wire);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _endpoint.Dispose();
        _work?.Dispose();
        _loop.Close();
    }
}
