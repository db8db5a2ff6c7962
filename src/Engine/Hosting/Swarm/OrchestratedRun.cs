// A run as its orchestrator's process has it: directory, log, orchestrator, metrics and what the person sees. `orchestrate`
// serves one to peers anywhere; `train --stages` adds peers of its own on this machine.
using System.Globalization;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Net.Identity;

namespace OrionNative.Engine.Hosting.Swarm;

sealed class OrchestratedRun : IDisposable
{
    readonly ResolvedRun _run;
    readonly RunDirectory _directory;
    readonly NodeIdentity _identity;
    readonly int _startStep;
    readonly double _peakFlops;

    /// <param name="run">What is trained.</param>
    /// <param name="resumeFrom">A run directory to go on from, or null.</param>
    /// <param name="listen">Where peers reach the orchestrator.</param>
    /// <param name="output">Where the plan of the run is printed.</param>
    public OrchestratedRun(ResolvedRun run, string? resumeFrom, IPEndPoint listen, TextWriter output)
    {
        RunConfig config = run.Config;
        // relative names mean this process's folder; the run's log must not depend on it
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
        Orchestrator = new OrchestratorHost(_run, _directory, new SqliteRunStore(Path.Combine(_directory.Path, "run.db")), _identity, listen, _startStep, _ => { });
        _peakFlops = Devices.PeakFlops(config.Device, config.Threads);
        PrintPlan(output);
    }

    /// <summary>The configuration, with absolute paths.</summary>
    public RunConfig Config => _run.Config;

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
        long began = TimeProvider.System.GetTimestamp();
        string reason = Orchestrator.Run(
            step =>
            {
                last = step;
                StepResult result = new(step.Step, step.Loss, schedule.At(step.Step - 1), step.GradientNorm, config.TokensPerStep, step.Seconds);
                meter.Add(result);
                (long sent, long received) = (Orchestrator.Figures.Values.Sum(f => f.SentBytes), Orchestrator.Figures.Values.Sum(f => f.ReceivedBytes));
                _directory.Metrics(TrainingRun.MetricsLine(result, meter, sent, received));
                TimeSpan remaining = TimeSpan.FromSeconds((config.Steps - step.Step) * TimeProvider.System.GetElapsedTime(began).TotalSeconds / (step.Step - _startStep));
                view.Step(new StepView(step.Step, config.Steps, step.Loss, result.LearningRate, step.GradientNorm, meter.TokensPerSecond, meter.Mfu, remaining));
                committed?.Invoke(step);
            },
            view.Note, interrupt);
        bool interrupted = last.Step < config.Steps;
        _directory.Event(interrupted ? "interrupted" : "finished", new JsonObject { ["step"] = last.Step, ["reason"] = reason });
        string checkpoint = new CheckpointStore(_directory.Path, config.Keep).Latest ?? "";
        return new TrainingOutcome(_directory.Path, checkpoint, last.Step, last.Loss, null, meter.TokensPerSecond, meter.Mfu, interrupted);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Orchestrator.Dispose();
        _identity.Dispose();
        _directory.Dispose();
    }
}
