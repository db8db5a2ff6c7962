// The orchestrator as a process: links of peers, the clock and the store become events for one Orchestrator core, whose
// effects are performed in order: a record is durable before anything after it is said.
using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>A step that was committed.</summary>
sealed record CommittedStep(int Step, double Loss, double GradientNorm, double Seconds);

sealed partial class OrchestratorHost : IDisposable
{
    static readonly TimeSpan _tickEvery = TimeSpan.FromMilliseconds(200);
    const int ConnectionsSpare = 1024;   // for strangers

    readonly ResolvedRun _run;
    readonly ModelCosts _costs;
    readonly RunDirectory _directory;
    readonly CheckpointStore _checkpoints;
    readonly IRunStore _store;
    readonly Orchestrator _core;
    readonly ITransportEndpoint _endpoint;
    readonly NodeIdentity _identity;
    readonly BlockingCollection<Action> _events = new(new ConcurrentQueue<Action>());   // bounded by links, see Handler
    readonly Dictionary<PeerId, PeerLink> _links = [];
    // where others dial those who were admitted; strangers are not in it
    readonly ConcurrentDictionary<PeerId, string> _addresses = new();
    readonly ConcurrentDictionary<PeerId, PeerFigures> _figures = new();
    readonly LinkOptions _linkOptions;
    readonly byte[] _description;
    long _committedAt = TimeProvider.System.GetTimestamp();
    bool _isEnded;
    string _endReason = "";

    /// <param name="run">What is trained.</param>
    /// <param name="directory">The run's directory.</param>
    /// <param name="store">The run's log; owned from now on.</param>
    /// <param name="identity">The orchestrator's key.</param>
    /// <param name="listen">Where peers reach it.</param>
    /// <param name="startStep">Step of the checkpoint that a new log begins from; 0 from the seed.</param>
    /// <param name="log">Sentences for the operator.</param>
    public OrchestratorHost(ResolvedRun run, RunDirectory directory, IRunStore store, NodeIdentity identity, IPEndPoint listen, int startStep, Action<string> log)
    {
        (_run, _directory, _identity) = (run, directory, identity);
        _costs = RunSegments.Costs(run.Model, run.Config);
        _checkpoints = new CheckpointStore(directory.Path, run.Config.Keep);
        _store = store;
        _inbox = new CheckpointInbox(_checkpoints);
        _tokens = new TokenFeed(run);
        _payload = CodePayload.Of(run.Model, run.Config);
        _pool = new PinnedPool(new SlotClass(BulkTransfer.PieceBytes, (GrantsPerPeer * run.Config.Stages * run.Config.Replicas) + SlotsSpare));
        RunDescription description = new(run.Config, run.Model, run.Tokenizer.Hash);
        _description = description.Encode();
        ControlSettings settings = Settings(description);
        IReadOnlyList<string> written = _store.ReadAll();
        List<DurableRecord> records = [.. written.Select(text => ControlCodec.Decode<DurableRecord>(Encoding.UTF8.GetBytes(text)).Message)];
        if (records.Count == 0 && startStep > 0)
        {
            records = [new DurableRecord.StepCommitted(0, startStep, 1, 0, 0), new DurableRecord.CheckpointCompleted(startStep)];
            records.ForEach(record => _store.Append(ControlCodec.Text(record)));
        }
        else if (records.Count > 0)
        {
            MendEvents(written);
            foreach (DurableRecord.PeerAdmitted admitted in records.OfType<DurableRecord.PeerAdmitted>())
            {
                _addresses[admitted.Profile.Peer] = admitted.Profile.Address;
            }
        }

        _core = Orchestrator.Restore(settings, records);
        _linkOptions = new LinkOptions { Run = PeerIds.RunOf(identity.Id), Window = new DuplicateWindow() };
        _endpoint = Endpoints.Open(identity, Endpoints.Kind(run.Config.Transport), new TransportOptions
        {
            Listen = listen,
            Admit = connection => Admission.Accept(new PeerLink(_linkOptions, new Handler(this))),
            IdleTimeout = TimeSpan.FromSeconds(10),
            KeepAlive = TimeSpan.FromSeconds(2),
            ConnectionsMax = ConnectionsSpare + (2 * ControlLimits.PeersMost(run.Config)),   // a peer that dials anew may have two
            Log = log,
        });
        TellStatus();
    }

    ControlSettings Settings(RunDescription run) => new()
    {
        Version = PeerHost.Version,
        ModelHash = run.ModelHash,
        TokenizerHash = run.TokenizerHash,
        StageCount = _run.Config.Stages,
        ReplicaCount = _run.Config.Replicas,
        MicrobatchCount = _run.Config.Microbatches,
        StepCount = _run.Config.Steps,
        Model = _costs,
        ClipNorm = _run.Config.Clip,
        CheckpointEvery = _run.Config.CheckpointEvery,
        GrantWindow = new ScheduleSettings { StageCount = _run.Config.Stages, MicrobatchCount = _run.Config.Microbatches, CodeBytes = 1 }.SlotCount(0),
    };

    /// <summary>Where peers reach it.</summary>
    public IPEndPoint Address => _endpoint.LocalAddress;

    /// <summary>What the run waits for; empty while it goes on.</summary>
    public string HoldReason => _core.HoldReason;

    /// <summary>Who holds what.</summary>
    public Placement Placement => _core.Placement;

    /// <summary>What each peer last told.</summary>
    public IReadOnlyDictionary<PeerId, PeerFigures> Figures => _figures;

    /// <summary>A token for a number of newcomers, as the string that they join with.</summary>
    public JoinString Invite(int uses, TimeSpan lasts, string host)
    {
        string token = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
        long expires = DateTimeOffset.UtcNow.Add(lasts).ToUnixTimeSeconds();
        _events.Add(() => Step(new OrchestratorEvent.TokenIssued(JoinTokens.Hash(token), uses, expires)));
        return new JoinString(_identity.Id, host, Address.Port, token, _endpoint.Kind);
    }

    /// <summary>Asks for the end of the run.</summary>
    public void Stop(string reason) => _events.Add(() => Step(new OrchestratorEvent.StopAsked(reason)));

    /// <summary>Asks a peer to finish what it holds and leave.</summary>
    public void Drain(PeerId peer) => _events.Add(() => Step(new OrchestratorEvent.DrainAsked(peer)));

    static Instant Now => new(TimeProvider.System.GetElapsedTime(0).Ticks * 100);

    /// <summary>Serves until the run ends. Returns why it ended.</summary>
    /// <param name="committed">Told of every committed step, on this thread.</param>
    /// <param name="noted">Told what happens to the run, for people.</param>
    /// <param name="interrupt">Ends the run.</param>
    public string Run(Action<CommittedStep> committed, Action<string> noted, CancellationToken interrupt)
    {
        (_whenCommitted, _whenNoted) = (committed, noted);
        Step(new OrchestratorEvent.Started());
        long ticked = 0;
        bool isStopping = false;
        while (!_isEnded)
        {
            for (bool waits = true; !_isEnded && _events.TryTake(out Action? next, waits ? _tickEvery : TimeSpan.Zero); waits = false)
            {
                next();
            }

            if (interrupt.IsCancellationRequested && !isStopping)
            {
                isStopping = true;
                Step(new OrchestratorEvent.StopAsked("stopped by the operator"));
            }

            if (TimeProvider.System.GetElapsedTime(ticked) >= _tickEvery)
            {
                ticked = TimeProvider.System.GetTimestamp();
                Step(new OrchestratorEvent.Tick());
                CloseStrangers();
            }

            LookAtRivals();

            TellStatus();
        }

        Thread.Sleep(300);   // the last words reach the peers before the endpoint closes
        return _endReason;
    }

    Action<CommittedStep>? _whenCommitted;
    Action<string>? _whenNoted;

    void Step(OrchestratorEvent input)
    {
        foreach (OrchestratorEffect effect in _core.Step(input, Now).ToArray())
        {
            switch (effect)
            {
                case OrchestratorEffect.Persist persist:
                    Persist(persist.Record);
                    break;
                case OrchestratorEffect.Send send:
                    Send(send.Peer, send.Message);
                    break;
                case OrchestratorEffect.Note note:
                    _directory.Event("note", new JsonObject { ["text"] = note.Text });
                    _whenNoted?.Invoke(note.Text);
                    break;
                default:
                    throw new InvalidOperationException(effect.GetType().Name);
            }
        }
    }

    void Persist(DurableRecord record)
    {
        if (record is DurableRecord.CheckpointCompleted completed)
        {
            _inbox.Commit(completed.Step, _run, DataHash);
            _whenNoted?.Invoke($"checkpoint of step {completed.Step}");
        }

        string text = ControlCodec.Text(record);
        Tell(_store.Append(text), text);
        switch (record)
        {
            case DurableRecord.StepCommitted step:
                double seconds = TimeProvider.System.GetElapsedTime(_committedAt).TotalSeconds;
                _committedAt = TimeProvider.System.GetTimestamp();
                _lastStep = new CommittedStep(step.Step, step.Loss, step.GradientNorm, seconds);
                _whenCommitted?.Invoke(_lastStep);
                break;
            case DurableRecord.RolledBack back:
                _directory.DropMetricsAfter(back.ToStep);
                _inbox.RollBack(back.ToStep);
                break;
            case DurableRecord.RunEnded ended:
                (_isEnded, _endReason) = (true, ended.Reason);
                break;
            case DurableRecord.PeerRemoved removed:
                _whenNoted?.Invoke($"{removed.Peer.Short} left: {removed.Reason}");
                break;
            case DurableRecord.PeerAdmitted admitted:
                _addresses[admitted.Profile.Peer] = admitted.Profile.Address;   // members let those connect whose address they are told
                _whenNoted?.Invoke($"{admitted.Profile.Peer.Short} joined from {admitted.Profile.Address}");
                break;
            default:
                break;
        }
    }

    // An event names its record, so that events which a kill prevented are found and written at the next start.
    void Tell(long number, string record) => _directory.Event((string)JsonNode.Parse(record)!["kind"]!, RunHistory.Details(number, record));

    void MendEvents(IReadOnlyList<string> records)
    {
        long told = 0;
        foreach (JsonObject line in RunDirectory.ReadEvents(_directory.Path))
        {
            told = RunHistory.BeginsLog(line) ? 0 : told;
            told = Math.Max(told, (long?)line["record"] ?? 0);
        }

        for (long number = told; number < records.Count; number++)
        {
            Tell(number + 1, records[(int)number]);
        }
    }

    void Send(PeerId peer, OrchestratorMessage message)
    {
        if (!_links.TryGetValue(peer, out PeerLink? link))
        {
            return;
        }

        if (message is OrchestratorMessage.Grant grant)
        {
            SendTokens(link, grant);
        }

        link.Tell(ControlCodec.EncodeToPeer(message, _addresses.GetValueOrDefault));
    }

    void Received(PeerId peer, PeerMessage message, JsonObject? beside)
    {
        if (message is PeerMessage.Join join)
        {
            if (!_links.TryGetValue(peer, out PeerLink? link))
            {
                return;
            }

            if (join.Profile.Peer != peer)
            {
                link.Close($"{peer.Short} claimed to be {join.Profile.Peer.Short}");
                return;
            }

            if (!Endpoints.TryAdvertise(join.Profile.Address, link.Connection!.RemoteAddress.Address, out string address))
            {
                Send(peer, new OrchestratorMessage.Refused(JoinRefusal.NoAddress, $"other peers cannot dial '{join.Profile.Address}'; join with --advertise ADDRESS:PORT"));
                return;
            }

            message = join with { Profile = join.Profile with { Address = address } };
        }
        else if (message is PeerMessage.CheckpointWritten written)
        {
            string[] names = [.. (beside?["files"] as JsonArray ?? []).Select(file => file?.ToString() ?? "")];
            _receiver.Then(() => _events.Add(() => Written(peer, written, names)));
            return;
        }

        Step(new OrchestratorEvent.Received(peer, message, DateTimeOffset.UtcNow.ToUnixTimeSeconds()));
    }

    void Describe(PeerLink link, ulong id, PeerId peer, string token)
    {
        if (_core.MayAsk(peer, token, DateTimeOffset.UtcNow.ToUnixTimeSeconds(), out string refusal))
        {
            link.Respond(id, 0, _description);
        }
        else
        {
            link.Respond(id, 1, Encoding.UTF8.GetBytes(refusal));
        }
    }

    // The files that a stage speaks of are here, if they are: their last pieces were taken before it spoke.
    void Written(PeerId peer, PeerMessage.CheckpointWritten written, string[] names)
    {
        if (names.Length > 0 && _inbox.Holds(written.Step, names))
        {
            Step(new OrchestratorEvent.Received(peer, written, DateTimeOffset.UtcNow.ToUnixTimeSeconds()));
        }
        else
        {
            _whenNoted?.Invoke($"{peer.Short} says that stage {written.Stage} of the checkpoint of step {written.Step} is here, but it is not whole");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _endpoint.Dispose();
        _receiver.Dispose();
        _pool.Dispose();
        _tokens.Dispose();
        _store.Dispose();
        _events.Dispose();
    }
}
