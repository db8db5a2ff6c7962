// A run as its orchestrator's process has it: directory, log, orchestrator, HTTP, metrics and what the person sees.
// `orchestrate` serves one to peers anywhere; `train --stages` adds peers of its own on this machine.
// Resumed with the settings it had, a run that did not end continues its log: the members come back to the same address and
// go on in the open step. With other settings, or after its end, a new log begins from the newest checkpoint.
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Control;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Data;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Net.Identity;

namespace OrionNative.Engine.Hosting.Swarm;

sealed class OrchestratedRun : IDisposable
{
    const string StoreFile = "run.db";
    const string ControlFile = "control.json";

    readonly ResolvedRun _run;
    readonly RunDirectory _directory;
    readonly NodeIdentity _identity;
    readonly TextWriter _wireLog;
    readonly ControlServer _server;
    readonly int _startStep;
    readonly TokenDataset? _evalData;
    readonly Func<double> _peakFlops;

    /// <param name="run">What is trained.</param>
    /// <param name="resumeFrom">A run directory to go on from, or null.</param>
    /// <param name="listen">Where peers reach the orchestrator; null: where it was, or a free port of this machine.</param>
    /// <param name="http">Where people and programs reach it.</param>
    /// <param name="output">Where the plan of the run is printed.</param>
    /// <param name="isHere">True when all peers are processes of this machine and share its processors.</param>
    /// <exception cref="ConfigurationException">The run has all its steps, a port is in use, or a setting needs the weights at every step.</exception>
    /// <exception cref="IOException">The store cannot be opened.</exception>
    public OrchestratedRun(ResolvedRun run, string? resumeFrom, IPEndPoint? listen, IPEndPoint http, TextWriter output, bool isHere = false)
    {
        RunConfig config = run.Config;
        if (config.EvalEvery > 0)
        {
            throw new ConfigurationException($"eval-every {config.EvalEvery}: the weights of a swarm come together in its checkpoints only; leave it at 0 (eval-data is evaluated at the end), or run `orion-engine eval` on a checkpoint");
        }

        ControlLimits.Check(config, run.Model);
        _evalData = config.EvalData.Count > 0 ? DataPreparer.Open(config.EvalData, run.Tokenizer, TrainingRun.CacheFolder, config.Field) : null;
        SqliteRunStore store;
        if (resumeFrom is not null)
        {
            resumeFrom = Path.GetFullPath(resumeFrom);
            _run = run with { Config = config with { Out = resumeFrom } };
            store = OpenLog(resumeFrom, _run, out DurableRecord[] records);
            Continues = records.Length > 0;
            _startStep = Continues ? records.Aggregate(0, CommittedAfter) : CheckpointedStep(resumeFrom, run);
            if (_startStep >= config.Steps && !Continues)
            {
                store.Dispose();
                throw RunDirectory.NoStepsLeft(resumeFrom, _startStep, config.Steps);
            }

            _directory = RunDirectory.Resume(resumeFrom, config, _startStep, TimeProvider.System);
            MendMetrics(records);
        }
        else
        {
            _directory = RunDirectory.Create(config.Out, config, TimeProvider.System);
            _run = run with { Config = config with { Out = _directory.Path } };
            store = OpenLog(_directory.Path, _run, out _);
        }

        string folder = Path.Combine(_directory.Path, "orchestrator");
        _identity = NodeIdentity.LoadOrCreate(folder);
        string addressFile = Path.Combine(folder, "address");
        listen ??= Continues && File.Exists(addressFile) ? IPEndPoint.Parse(File.ReadAllText(addressFile)) : new IPEndPoint(IPAddress.Loopback, 0);
        _wireLog = TextWriter.Synchronized(new StreamWriter(Path.Combine(folder, "wire.log"), append: true) { AutoFlush = true });
        string key = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
        try
        {
            Orchestrator = new OrchestratorHost(_run, _directory, store, _identity, listen, Continues ? 0 : _startStep, SayOfTheWire);
            _server = new ControlServer(Orchestrator, http, key);
        }
        catch (ConfigurationException)
        {
            // a port in use: the same command with another port must find the place free
            Orchestrator?.Dispose();
            store.Dispose();
            _wireLog.Dispose();
            if (resumeFrom is null)
            {
                _directory.Discard();
            }

            throw;
        }

        File.WriteAllText(addressFile, Orchestrator.Address.ToString());

        WriteControl(key);
        double here = isHere ? Devices.PeakFlops(config.Device, config.Threads) : 0;
        _peakFlops = isHere ? () => here : () => Orchestrator.PeakFlops;
        PrintPlan(output);
        if (resumeFrom is not null && CheckpointReader.NewestState(resumeFrom) is { } state && RunCheckpoint.DataNotice(state, Orchestrator.DataHash) is { } notice)
        {
            output.WriteLine(notice);
            _directory.Event("dataChanged", new JsonObject { ["step"] = _startStep, ["hash"] = Orchestrator.DataHash });
        }

        output.WriteLine($"watch   {_server.Url}/#{key}");
    }

    // Who connected, left or was refused; strangers are counted there, so that nobody can fill the disk.
    void SayOfTheWire(string sentence)
    {
        try
        {
            _wireLog.WriteLine($"{TimeProvider.System.GetUtcNow():O} {sentence}");
        }
        catch (IOException)
        {
            // a full disk ends the run where its state is written, with a sentence; not here, on the transport's thread
        }
    }

    /// <summary>True when the log of an earlier orchestrator is continued and its members may come back.</summary>
    public bool Continues { get; }

    // The log of the directory, if it is of this very run and the run did not end; else a new one, the old one set aside.
    static SqliteRunStore OpenLog(string directory, ResolvedRun run, out DurableRecord[] records)
    {
        string path = Path.Combine(directory, StoreFile);
        string purpose = new RunDescription(run.Config, run.Model, run.Tokenizer.Hash).ModelHash;
        SqliteRunStore store = new(path);
        records = [.. store.ReadAll().Select(text => ControlCodec.Decode<DurableRecord>(Encoding.UTF8.GetBytes(text)).Message)];
        bool isNew = records.Length == 0 && store.Purpose.Length == 0;
        if (!isNew && (store.Purpose != purpose || records.Any(record => record is DurableRecord.RunEnded)))
        {
            store.Dispose();
            records = [];
            File.Move(path, $"{path}.{Directory.GetFiles(directory, StoreFile + ".*").Length + 1:D4}");
            store = new SqliteRunStore(path);
            isNew = true;
        }

        if (isNew)
        {
            store.Purpose = purpose;
        }

        return store;
    }

    static int CommittedAfter(int step, DurableRecord record) => record switch
    {
        DurableRecord.StepCommitted committed => committed.Step,
        DurableRecord.RolledBack back => back.ToStep,
        _ => step,
    };

    // before its first checkpoint a run begins again with its first step
    static int CheckpointedStep(string directory, ResolvedRun run)
    {
        if (!CheckpointStore.HasAny(directory))
        {
            return 0;
        }

        using CheckpointReader checkpoint = CheckpointReader.Open(directory);
        checkpoint.RequireTokenizer(run.Tokenizer.Hash);
        return (int)checkpoint.State.Step;
    }

    // A step is durable before its line of metrics is written: a line that a kill prevented is made from the log.
    void MendMetrics(DurableRecord[] records)
    {
        int written = RunDirectory.ReadMetrics(_directory.Path).Select(line => (int?)line["step"] ?? 0).DefaultIfEmpty(0).Max();
        LearningRateSchedule schedule = LearningRateSchedule.Of(_run.Config);
        foreach (DurableRecord.StepCommitted step in records.OfType<DurableRecord.StepCommitted>().GroupBy(step => step.Step).Select(again => again.Last()).Where(step => step.Step > written && step.Step <= _startStep).OrderBy(step => step.Step))
        {
            _directory.Metrics(new JsonObject { ["step"] = step.Step, ["loss"] = step.Loss, ["lr"] = schedule.At(step.Step - 1), ["gradNorm"] = step.GradientNorm, ["tokens"] = _run.Config.TokensPerStep });
        }
    }

    // Whoever may read this file may steer the run.
    void WriteControl(string key)
    {
        string file = Path.Combine(_directory.Path, ControlFile);
        using FileStream stream = new(file, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });
        stream.Write(Encoding.UTF8.GetBytes(new JsonObject { ["url"] = _server.Url, ["key"] = key, ["process"] = Environment.ProcessId }.ToJsonString()));
    }

    /// <summary>The configuration, with absolute paths.</summary>
    public RunConfig Config => _run.Config;

    /// <summary>The model, boundaries included.</summary>
    public ModelConfig Model => _run.Model;

    /// <summary>Where the run's files lie.</summary>
    public string DirectoryPath => _directory.Path;

    /// <summary>The orchestrator.</summary>
    public OrchestratorHost Orchestrator { get; }

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

    /// <summary>Serves to the last step or the interrupt.</summary>
    /// <param name="view">What the person sees.</param>
    /// <param name="committed">Told of every step, on the orchestrator's thread.</param>
    /// <param name="interrupt">Ends the run.</param>
    public TrainingOutcome Serve(ITrainingView view, Action<CommittedStep>? committed, CancellationToken interrupt)
    {
        RunConfig config = _run.Config;
        _directory.Event(_startStep == 0 ? "started" : "resumed", new JsonObject { ["step"] = _startStep, ["stages"] = config.Stages, ["replicas"] = config.Replicas });
        LearningRateSchedule schedule = LearningRateSchedule.Of(config);
        StepMeter meter = new(_run.Model.TrainingFlopPerToken(config.Sequence), _peakFlops);
        CommittedStep last = new(_startStep, double.NaN, 0, 0);
        // peers that outlived an earlier orchestrator tell the sums of their whole lives: what of it is this step's, nobody knows
        (long Sent, long Received)? told = Continues ? null : (0, 0);
        long began = TimeProvider.System.GetTimestamp();
        string reason = Orchestrator.Run(
            step =>
            {
                last = step;
                StepResult result = new(step.Step, step.Loss, schedule.At(step.Step - 1), step.GradientNorm, config.TokensPerStep, step.Seconds);
                meter.Add(result);
                (long Sent, long Received) sums = (Orchestrator.Figures.Values.Sum(f => f.SentBytes), Orchestrator.Figures.Values.Sum(f => f.ReceivedBytes));
                _directory.Metrics(TrainingRun.MetricsLine(result, meter, sums.Sent - told?.Sent, sums.Received - told?.Received));
                told = sums;
                TimeSpan remaining = TimeSpan.FromSeconds((config.Steps - step.Step) * TimeProvider.System.GetElapsedTime(began).TotalSeconds / Math.Max(1, step.Step - _startStep));
                view.Step(new StepView(step.Step, config.Steps, step.Loss, result.LearningRate, step.GradientNorm, meter.TokensPerSecond, meter.Mfu, remaining));
                committed?.Invoke(step);
            },
            view.Note, interrupt);
        bool interrupted = last.Step < config.Steps;
        string checkpoint = new CheckpointStore(_directory.Path, config.Keep).Latest ?? "";
        double? evalLoss = interrupted || _evalData is null ? null : Evaluate(checkpoint, last.Step);
        _directory.Event(interrupted ? "interrupted" : "finished", new JsonObject { ["step"] = last.Step, ["reason"] = reason, ["evalLoss"] = evalLoss });
        return new TrainingOutcome(_directory.Path, checkpoint, last.Step, last.Loss, evalLoss, meter.TokensPerSecond, meter.Mfu, interrupted);
    }

    double Evaluate(string checkpoint, int step)
    {
        RunConfig config = _run.Config;
        using LoadedModel loaded = new(checkpoint, Devices.Open(config.Device, config.Threads));
        using Evaluator evaluator = new(loaded.Parameters, config.MicrobatchSize, config.Sequence, loaded.Wire);
        EvaluationResult result = evaluator.Evaluate(new TokenWindows(_evalData!, config.Sequence));
        _directory.Event("evaluated", new JsonObject { ["step"] = step, ["loss"] = result.Loss, ["tokens"] = result.Tokens });
        return result.Loss;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        File.Delete(Path.Combine(_directory.Path, ControlFile));
        _server.Dispose();
        Orchestrator.Dispose();
        _identity.Dispose();
        _wireLog.Dispose();
        _evalData?.Dispose();
        _directory.Dispose();
    }
}
