// A whole run on this machine: the orchestrator in this process, one child process for each peer, real QUIC between them.
// Children are `orion-engine join` with an identity of their own below the run directory; what they say goes to peers/*.log.
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Net.Identity;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>Runs S stages x R replicas as processes of this machine.</summary>
sealed class LocalSwarm : IDisposable
{
    readonly ResolvedRun _run;
    readonly RunDirectory _directory;
    readonly OrchestratorHost _orchestrator;
    readonly NodeIdentity _identity;
    readonly Process?[] _peers;
    readonly int _startStep;
    readonly double _peakFlops;
    JoinString? _join;

    /// <param name="run">What is trained.</param>
    /// <param name="resumeFrom">A run directory to go on from, or null.</param>
    /// <param name="output">Where the plan of the run is printed.</param>
    public LocalSwarm(ResolvedRun run, string? resumeFrom, TextWriter output)
    {
        RunConfig config = run.Config;
        // relative names mean this process's folder; the peers run in it too, but the run's log must not depend on that
        config = config with { Data = [.. config.Data.Select(Path.GetFullPath)], Tokenizer = config.Tokenizer == "byte" ? "byte" : Path.GetFullPath(config.Tokenizer) };
        if (resumeFrom is not null)
        {
            using CheckpointReader checkpoint = CheckpointReader.Open(resumeFrom);
            checkpoint.RequireTokenizer(run.Tokenizer.Hash);
            _startStep = (int)checkpoint.State.Step;
            File.Delete(Path.Combine(resumeFrom, "run.db"));
            _directory = RunDirectory.Resume(resumeFrom, config, _startStep, TimeProvider.System);
        }
        else
        {
            _directory = RunDirectory.Create(config.Out, config, TimeProvider.System);
        }

        _run = run with { Config = config with { Out = _directory.Path } };
        _identity = NodeIdentity.LoadOrCreate(Path.Combine(_directory.Path, "orchestrator"));
        _orchestrator = new OrchestratorHost(_run, _directory, new SqliteRunStore(Path.Combine(_directory.Path, "run.db")), _identity, new IPEndPoint(IPAddress.Loopback, 0), _startStep, _ => { });
        _peers = new Process?[config.Stages * config.Replicas];
        _peakFlops = Devices.PeakFlops(config.Threads);
        PrintPlan(output);
    }

    /// <summary>Where the run's files lie.</summary>
    public string DirectoryPath => _directory.Path;

    /// <summary>The orchestrator.</summary>
    public OrchestratorHost Orchestrator => _orchestrator;

    void PrintPlan(TextWriter output)
    {
        ModelConfig m = _run.Model;
        RunConfig c = _run.Config;
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"model   {c.Model}: {m.Parameters:N0} parameters, {m.Layers} blocks of width {m.Width}; {c.Stages} stages x {c.Replicas} replicas"));
        Pipeline.CodePayload payload = Pipeline.CodePayload.Of(m, c);
        long full = 2L * payload.Rows * m.Width;
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"wire    {m.Boundary.ToString().ToLowerInvariant()} boundaries: {payload.ForwardBytes:N0} bytes a microbatch forward, {payload.CodeBytes:N0} back; a full bf16 activation would be {full:N0} ({(double)full / payload.ForwardBytes:F1}x)"));
        output.WriteLine($"run     {_directory.Path}");
    }

    /// <summary>Starts every peer that is not running.</summary>
    public void StartPeers()
    {
        _join ??= _orchestrator.Invite(_peers.Length, TimeSpan.FromHours(1), "127.0.0.1");
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
        string folder = Path.Combine(_directory.Path, "peers", index.ToString("D2", CultureInfo.InvariantCulture));
        Directory.CreateDirectory(folder);
        int threads = Math.Max(1, (_run.Config.Threads > 0 ? _run.Config.Threads : Environment.ProcessorCount) / _peers.Length);
        ProcessStartInfo start = new("dotnet", [
            Path.Combine(AppContext.BaseDirectory, "orion-engine.dll"), "join", _join!.Reveal(), "--identity", folder,
            "--threads", threads.ToString(CultureInfo.InvariantCulture), "--listen", "127.0.0.1:0", "--device", _run.Config.Device, "--log", Path.Combine(folder, "peer.log")])
        {
            RedirectStandardInput = true,
        };
        start.Environment["DOTNET_TieredPGO"] = "0";
        _peers[index] = Process.Start(start) ?? throw new IOException("a peer process could not be started");
    }

    /// <summary>The processes, by index.</summary>
    public IReadOnlyList<Process?> Peers => _peers;

    /// <summary>Trains to the last step or the interrupt.</summary>
    public TrainingOutcome Train(ITrainingView view, Action<CommittedStep>? committed, CancellationToken interrupt)
    {
        RunConfig config = _run.Config;
        _directory.Event(_startStep == 0 ? "started" : "resumed", new JsonObject { ["step"] = _startStep, ["stages"] = config.Stages, ["replicas"] = config.Replicas });
        LearningRateSchedule schedule = LearningRateSchedule.Of(config);
        StepMeter meter = new(_run.Model.TrainingFlopPerToken(config.Sequence), _peakFlops);
        CommittedStep last = new(_startStep, double.NaN, 0, 0);
        long began = TimeProvider.System.GetTimestamp();
        StartPeers();
        string reason = _orchestrator.Run(
            step =>
            {
                last = step;
                StepResult result = new(step.Step, step.Loss, schedule.At(step.Step - 1), step.GradientNorm, config.TokensPerStep, step.Seconds);
                meter.Add(result);
                (long sent, long received) = (_orchestrator.Figures.Values.Sum(f => f.SentBytes), _orchestrator.Figures.Values.Sum(f => f.ReceivedBytes));
                _directory.Metrics(TrainingRun.MetricsLine(result, meter, sent, received));
                TimeSpan remaining = TimeSpan.FromSeconds((config.Steps - step.Step) * TimeProvider.System.GetElapsedTime(began).TotalSeconds / (step.Step - _startStep));
                view.Step(new StepView(step.Step, config.Steps, step.Loss, result.LearningRate, step.GradientNorm, meter.TokensPerSecond, meter.Mfu, remaining));
                committed?.Invoke(step);
            },
            view.Note, interrupt);
        WaitForPeers();
        bool interrupted = last.Step < config.Steps;
        _directory.Event(interrupted ? "interrupted" : "finished", new JsonObject { ["step"] = last.Step, ["reason"] = reason });
        string checkpoint = new CheckpointStore(_directory.Path, config.Keep).Latest ?? "";
        return new TrainingOutcome(_directory.Path, checkpoint, last.Step, last.Loss, null, meter.TokensPerSecond, meter.Mfu, interrupted);
    }

    void WaitForPeers()
    {
        foreach (Process? peer in _peers)
        {
            if (peer is { HasExited: false } && !peer.WaitForExit(TimeSpan.FromSeconds(5)))
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

        _orchestrator.Dispose();
        _identity.Dispose();
        _directory.Dispose();
    }
}
