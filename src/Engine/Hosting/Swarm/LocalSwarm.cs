// A whole run on this machine: the orchestrator in this process, one child process for each peer, real QUIC between them.
// Children are `orion-engine join` with a state directory of their own below the run directory, which is all that they
// read and write; what they say goes to peers/*/peer.log. With links, every connection goes through the link laboratory: each
// peer is reached over an access link of its own (others dial the link's address), and has one to the orchestrator.
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Run;
using OrionNative.Net.Identity;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>Runs S stages x R replicas as processes of this machine.</summary>
sealed class LocalSwarm : IDisposable
{
    /// <summary>Peers that outlive this process (SIGKILL) wait for `train --resume`, which finds the open step with them, and
    /// then end: nobody may be there any more who knows of them.</summary>
    const int PatienceSeconds = 300;

    readonly OrchestratedRun _orchestrated;
    readonly Process?[] _peers;
    readonly PeerId[] _ids;
    readonly double[] _rehearseSeconds;
    readonly string?[] _rehearseHangs;
    readonly UdpRelay? _relay;
    readonly EmulatedLink[] _access = [];
    readonly EmulatedLink[] _home = [];
    JoinString? _join;
    long _startedAt;

    /// <param name="run">What is trained.</param>
    /// <param name="resumeFrom">A run directory to go on from, or null.</param>
    /// <param name="output">Where the plan of the run is printed.</param>
    /// <param name="http">Where people reach the orchestrator; null: a free port of this machine.</param>
    /// <param name="links">What is between the peers, as the dialler sees it; null: this machine's loopback.</param>
    public LocalSwarm(ResolvedRun run, string? resumeFrom, TextWriter output, IPEndPoint? http = null, LinkProfile? links = null)
    {
        _orchestrated = new OrchestratedRun(run, resumeFrom, listen: null, http ?? new IPEndPoint(IPAddress.Loopback, 0), output, isHere: true);
        _peers = new Process?[run.Config.Stages * run.Config.Replicas];
        _ids = new PeerId[_peers.Length];
        (_rehearseSeconds, _rehearseHangs) = (new double[_peers.Length], new string?[_peers.Length]);
        for (int i = 0; i < _peers.Length; i++)
        {
            using NodeIdentity identity = NodeIdentity.LoadOrCreate(FolderOf(i));
            _ids[i] = identity.Id.ToPeerId();
        }

        for (int i = 0; _orchestrated.Continues && i < _peers.Length; i++)
        {
            _peers[i] = Survivor(i);
        }

        if (links is not null)
        {
            if (run.Config.Transport != PeerTransport.Quic)
            {
                throw new ConfigurationException("transport tcp: the emulated links between local peers carry UDP; rehearse TCP with `orion-engine link emulate --transport tcp`");
            }

            _relay = new UdpRelay();
            // whoever dials a peer sends into its download
            LinkProfile reversed = new(links.Down, links.Up);
            _access = [.. Enumerable.Range(0, _peers.Length).Select(i => _relay.Add(new IPEndPoint(IPAddress.Loopback, 0), new IPEndPoint(IPAddress.Loopback, FreePort()), reversed, i))];
            _home = [.. Enumerable.Range(0, _peers.Length).Select(i => _relay.Add(new IPEndPoint(IPAddress.Loopback, 0), Orchestrator.Address, links, 1000 + i))];
        }
    }

    // A peer that outlived the orchestrator's process comes back by itself.
    Process? Survivor(int index)
    {
        string file = Path.Combine(FolderOf(index), "process");
        if (!File.Exists(file) || !int.TryParse(File.ReadAllText(file), out int id) || !File.Exists($"/proc/{id}/cmdline")
            || !File.ReadAllText($"/proc/{id}/cmdline").Contains(FolderOf(index), StringComparison.Ordinal))
        {
            return null;
        }

        return Process.GetProcessById(id);
    }

    /// <summary>Where the run's files lie.</summary>
    public string DirectoryPath => _orchestrated.DirectoryPath;

    /// <summary>The orchestrator.</summary>
    public OrchestratorHost Orchestrator => _orchestrated.Orchestrator;

    /// <summary>Starts every peer that is not running.</summary>
    public void StartPeers()
    {
        _join ??= Orchestrator.Invite(_peers.Length, TimeSpan.FromHours(1), "127.0.0.1");
        for (int i = 0; i < _peers.Length; i++)
        {
            if (_peers[i] is null or { HasExited: true })
            {
                StartPeer(i);
            }
        }
    }

    /// <summary>Starts one peer with the identity it had before.</summary>
    public void StartPeer(int index)
    {
        RunConfig config = _orchestrated.Config;
        string folder = FolderOf(index);
        int threads = Math.Max(1, (config.Threads > 0 ? config.Threads : Environment.ProcessorCount) / _peers.Length);
        bool isLinked = _relay is not null;
        JoinString join = isLinked ? _join! with { Port = _home[index].Address.Port } : _join!;
        List<string> arguments =
        [
            Path.Combine(AppContext.BaseDirectory, "orion-engine.dll"), "join", join.Reveal(), "--local", "--state", folder,
            "--threads", threads.ToString(CultureInfo.InvariantCulture), "--listen", isLinked ? _access[index].Target.ToString() : "127.0.0.1:0",
            "--patience", PatienceSeconds.ToString(CultureInfo.InvariantCulture), "--speed", "1", "--device", config.Device, "--rehearse-seconds", _rehearseSeconds[index].ToString(CultureInfo.InvariantCulture), "--log", Path.Combine(folder, "peer.log"),
        ];
        if (_rehearseHangs[index] is { } drill)
        {
            arguments.AddRange(["--rehearse-hang", drill]);
        }

        if (isLinked)
        {
            arguments.AddRange(["--advertise", _access[index].Address.ToString()]);
        }

        ProcessStartInfo start = new("dotnet", arguments)
        {
            RedirectStandardInput = true,
            WorkingDirectory = folder,
        };
        start.Environment["DOTNET_TieredPGO"] = "0";
        Process peer = Process.Start(start) ?? throw new IOException("a peer process could not be started");
        File.WriteAllText(Path.Combine(folder, "process"), peer.Id.ToString(CultureInfo.InvariantCulture));
        _peers[index] = peer;
    }

    // the relay needs a peer's port before the peer has it
    static int FreePort()
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    /// <summary>By peer: the link over which the others dial it; empty without links.</summary>
    public IReadOnlyList<EmulatedLink> AccessLinks => _access;

    /// <summary>By peer: its link to the orchestrator; empty without links.</summary>
    public IReadOnlyList<EmulatedLink> HomeLinks => _home;

    /// <summary>Where a peer keeps its key, its state and its log.</summary>
    public string FolderOf(int index) =>
        Directory.CreateDirectory(Path.Combine(DirectoryPath, "peers", index.ToString("D2", CultureInfo.InvariantCulture))).FullName;

    /// <summary>Who the peers are, by index.</summary>
    public IReadOnlyList<PeerId> Ids => _ids;

    /// <summary>The least time a microbatch takes at each peer, by index; holds for processes started later.</summary>
    public Span<double> RehearseSeconds => _rehearseSeconds;

    /// <summary>The failure that each peer rehearses (<see cref="HangDrill"/>), by index; holds for processes started later.</summary>
    public Span<string?> RehearseHangs => _rehearseHangs;

    /// <summary>The processes, by index.</summary>
    public IReadOnlyList<Process?> Peers => _peers;

    /// <summary>Who holds what now, and what they last told. Busy is compute over wall time since the peers were started.</summary>
    public PipelineView Picture()
    {
        Placement placement = Orchestrator.Placement;
        double wall = Math.Max(1e-3, TimeProvider.System.GetElapsedTime(_startedAt).TotalSeconds);
        List<StageView> stages = [];
        for (int stage = 0; stage < placement.StageCount; stage++)
        {
            PeerFigures[] told = [.. Orchestrator.Figures.Values.Where(figures => figures.Stage == stage)];
            long packets = told.Sum(figures => figures.Total.SentPackets);
            List<PeerView> peers = [];
            foreach (Member member in placement.Members.Where(member => member.Stage == stage))
            {
                PeerFigures? figures = Orchestrator.Figures.GetValueOrDefault(member.Peer);
                string state = _peers[Array.IndexOf(_ids, member.Peer)] is not { HasExited: false } ? "gone"
                    : member.State == MemberState.Active ? "up" : member.State == MemberState.Joining ? "joining" : "draining";
                peers.Add(new PeerView(member.Peer.Short, state, figures?.Queued ?? 0, figures?.InFlight ?? 0, (figures?.BusySeconds ?? 0) / wall));
            }

            Model.StageRange range = RunSegments.Range(_orchestrated.Model, placement.Slices[stage]);
            stages.Add(new StageView(
                range.BlockCount == 1 ? $"block {range.FirstBlock}" : $"blocks {range.FirstBlock}-{range.EndBlock - 1}", peers,
                told.Sum(figures => figures.Total.NextBytes), told.Sum(figures => figures.Total.PreviousBytes), packets == 0 ? 0 : (double)told.Sum(figures => figures.Total.LostPackets) / packets));
        }

        return new PipelineView(stages, Orchestrator.HoldReason);
    }

    /// <summary>Trains to the last step or the interrupt.</summary>
    public TrainingOutcome Train(ITrainingView view, Action<CommittedStep>? committed, CancellationToken interrupt)
    {
        _startedAt = TimeProvider.System.GetTimestamp();
        StartPeers();
        TrainingOutcome outcome = _orchestrated.Serve(view, committed, interrupt);
        WaitForPeers();
        return outcome;
    }

    // all of them have the same few seconds; one that was still starting when the run ended would wait for an orchestrator that is gone
    void WaitForPeers()
    {
        long began = TimeProvider.System.GetTimestamp();
        foreach (Process? peer in _peers)
        {
            TimeSpan left = TimeSpan.FromSeconds(5) - TimeProvider.System.GetElapsedTime(began);
            if (peer is { HasExited: false } && !peer.WaitForExit(left > TimeSpan.Zero ? left : TimeSpan.Zero))
            {
                peer.Kill();
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Process? peer in _peers)
        {
            if (peer is { HasExited: false })
            {
                peer.Kill();
            }

            peer?.Dispose();
        }

        _relay?.Dispose();
        _orchestrated.Dispose();
    }
}
