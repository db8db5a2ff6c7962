// One run in one process, from files to files: data, trainer, metrics, checkpoints, and what the person sees. The loop
// ends after the last step, on an interrupt (after a checkpoint), or on an error (everything saved stays).
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Data;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Kernels;

namespace OrionNative.Engine.Hosting;

/// <summary>How a run ended.</summary>
/// <param name="Loss">Loss of the last step; NaN if none was made.</param>
/// <param name="EvalLoss">Loss on the evaluation text at the end, if there is one.</param>
/// <param name="Interrupted">True when the run stopped before its last step because somebody asked.</param>
sealed record TrainingOutcome(
    string Directory, string Checkpoint, long Step, double Loss, double? EvalLoss, double TokensPerSecond, double Mfu, bool Interrupted);

/// <summary>Trains one model in this process.</summary>
sealed class TrainingRun : IDisposable
{
    /// <summary>Where prepared text is kept, below the working directory.</summary>
    public const string CacheFolder = ".orion-cache";

    readonly ResolvedRun _run;
    readonly RunConfig _config;
    readonly TimeProvider _clock;
    readonly TokenDataset _data;
    readonly TokenDataset? _evalData;
    readonly IDevice _device;
    readonly Trainer _trainer;
    readonly RunDirectory _directory;
    readonly CheckpointStore _store;
    readonly double _peakFlops;
    Evaluator? _evaluator;

    /// <summary>Opens everything, so that whatever cannot be is said before the first step.</summary>
    /// <param name="run">The configuration, resolved.</param>
    /// <param name="resumeFrom">A run directory to go on from, or null for a new run.</param>
    /// <param name="clock">Time for events and speeds.</param>
    /// <param name="output">Where the plan of the run is printed.</param>
    public TrainingRun(ResolvedRun run, string? resumeFrom, TimeProvider clock, TextWriter output)
    {
        (_run, _config, _clock) = (run, run.Config, clock);
        _data = Open(_config.Data);
        _evalData = _config.EvalData.Count > 0 ? Open(_config.EvalData) : null;
        _device = Devices.Open(_config.Device, _config.Threads);
        _peakFlops = Devices.PeakFlops(_config.Device, _config.Threads);
        _trainer = new Trainer(run.Model, _config, _device, new DatasetBatches(new TokenWindows(_data, _config.Sequence), _config));
        string? notice = null;
        if (resumeFrom is null)
        {
            _directory = RunDirectory.Create(_config.Out, _config, clock);
        }
        else
        {
            if (CheckpointStore.HasAny(resumeFrom))
            {
                using CheckpointReader checkpoint = CheckpointReader.Open(resumeFrom);
                RunCheckpoint.Load(checkpoint, run, _trainer);
                notice = RunCheckpoint.DataNotice(checkpoint.State, _data.Hash);
            }
            else
            {
                output.WriteLine($"resume  {resumeFrom} has no checkpoint yet: it begins again with its first step");
            }

            if (_trainer.StepsDone >= _config.Steps)
            {
                throw RunDirectory.NoStepsLeft(resumeFrom, _trainer.StepsDone, _config.Steps);
            }

            _directory = RunDirectory.Resume(resumeFrom, _config, (int)_trainer.StepsDone, clock);
        }

        _store = new CheckpointStore(_directory.Path, _config.Keep);
        PrintPlan(output);
        if (notice is not null)
        {
            output.WriteLine(notice);
            _directory.Event("dataChanged", new JsonObject { ["step"] = _trainer.StepsDone, ["hash"] = _data.Hash });
        }
    }

    /// <summary>Where the run's files lie.</summary>
    public string DirectoryPath => _directory.Path;

    TokenDataset Open(IReadOnlyList<string> data) =>
        DataPreparer.Open(data, _run.Tokenizer, CacheFolder, _config.Field, new PrepareOptions { Threads = Math.Max(1, _config.Threads > 0 ? _config.Threads : Environment.ProcessorCount) });

    void PrintPlan(TextWriter output)
    {
        ModelConfig m = _run.Model;
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"model   {_config.Model}: {m.Parameters:N0} parameters, {m.Layers} blocks of width {m.Width}, vocabulary {m.Vocabulary}{Boundaries(m)}"));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"data    {_data.TokenCount:N0} tokens; {_config.TokensPerStep:N0} tokens a step, {(double)_config.TokensPerStep * _config.Steps / _data.TokenCount:F2} passes in {_config.Steps} steps"));
        output.WriteLine($"device  {_device.Name}");
        output.WriteLine($"memory  {Trainer.Plan(m, _config, _device)}; the runtime's own comes on top");
        output.WriteLine($"run     {_directory.Path}");
    }

    static string Boundaries(ModelConfig m) => !m.HasCodes ? "" : string.Create(CultureInfo.InvariantCulture,
        $"; {m.Boundaries.Count} {m.Boundary.ToString().ToLowerInvariant()} boundaries, {m.Width}/{m.CodeWidth} = {(double)m.Width / m.CodeWidth:F0}x narrower");

    /// <summary>Trains to the last step, or to the interrupt.</summary>
    /// <exception cref="NonFiniteException">The loss or gradient is not finite; a checkpoint of the last good step exists.</exception>
    public TrainingOutcome Train(ITrainingView view, CancellationToken interrupt)
    {
        long first = _trainer.StepsDone, began = _clock.GetTimestamp(), saved = first;
        _directory.Event(first == 0 ? "started" : "resumed", new JsonObject { ["step"] = first, ["device"] = _device.Name, ["steps"] = _config.Steps });
        string checkpoint = first == 0 ? "" : _store.Latest ?? "";
        double loss = double.NaN;
        StepMeter meter = new(_run.Model.TrainingFlopPerToken(_config.Sequence), () => _peakFlops);
        while (_trainer.StepsDone < _config.Steps && !interrupt.IsCancellationRequested)
        {
            StepResult step;
            try
            {
                step = _trainer.Step();
            }
            catch (NonFiniteException error)
            {
                _directory.Event("failed", new JsonObject { ["step"] = error.Step, ["reason"] = error.Message });
                throw;
            }

            loss = step.Loss;
            meter.Add(step);
            _directory.Metrics(MetricsLine(step, meter, 0, 0));
            TimeSpan remaining = TimeSpan.FromSeconds((_config.Steps - step.Step) * _clock.GetElapsedTime(began).TotalSeconds / (step.Step - first));
            view.Step(new StepView((int)step.Step, _config.Steps, step.Loss, step.LearningRate, step.GradientNorm, meter.TokensPerSecond, meter.Mfu, remaining));
            if (_config.CheckpointEvery > 0 && step.Step % _config.CheckpointEvery == 0)
            {
                checkpoint = Save();
                saved = step.Step;
            }

            if (_evalData is not null && _config.EvalEvery > 0 && step.Step % _config.EvalEvery == 0 && step.Step < _config.Steps)
            {
                view.Note(string.Create(CultureInfo.InvariantCulture, $"step {step.Step,6}  evaluation loss {Evaluate(step.Step):F4}"));
            }
        }

        if (_trainer.StepsDone > saved)
        {
            checkpoint = Save();
        }

        bool interrupted = _trainer.StepsDone < _config.Steps;
        double? evalLoss = _evalData is null || interrupted ? null : Evaluate(_trainer.StepsDone);
        _directory.Event(interrupted ? "interrupted" : "finished", new JsonObject { ["step"] = _trainer.StepsDone, ["loss"] = Number(loss), ["evalLoss"] = evalLoss });
        return new TrainingOutcome(_directory.Path, checkpoint, _trainer.StepsDone, loss, evalLoss, meter.TokensPerSecond, meter.Mfu, interrupted);
    }

    string Save()
    {
        string folder = RunCheckpoint.Save(_store, _run, _trainer, _data.Hash);
        _directory.Event("checkpoint", new JsonObject { ["step"] = _trainer.StepsDone, ["folder"] = Path.GetFileName(folder) });
        return folder;
    }

    double Evaluate(long step)
    {
        _evaluator ??= new Evaluator(_trainer.Parameters, _config.MicrobatchSize, _config.Sequence, _config.Wire);
        EvaluationResult result = _evaluator.Evaluate(new TokenWindows(_evalData!, _config.Sequence));
        _directory.Event("evaluated", new JsonObject { ["step"] = step, ["loss"] = result.Loss, ["tokens"] = result.Tokens });
        return result.Loss;
    }

    /// <summary>The line of an inner step in metrics.jsonl. Bytes are those of this step, between peers; null where they cannot be told.</summary>
    public static JsonObject MetricsLine(StepResult step, StepMeter meter, long? bytesSent, long? bytesReceived) => new()
    {
        ["step"] = step.Step,
        ["loss"] = step.Loss,
        ["lr"] = step.LearningRate,
        ["gradNorm"] = step.GradientNorm,
        ["tokens"] = step.Tokens,
        ["seconds"] = step.Seconds,
        ["tokensPerSecond"] = step.Tokens / step.Seconds,
        ["mfu"] = Number(meter.MfuOf(step)),
        ["bytesSent"] = bytesSent,
        ["bytesReceived"] = bytesReceived,
    };

    static JsonValue? Number(double value) => double.IsFinite(value) ? JsonValue.Create(value) : null;

    /// <inheritdoc/>
    public void Dispose()
    {
        _directory.Dispose();
        _evaluator?.Dispose();
        _trainer.Dispose();
        _device.Dispose();
        _evalData?.Dispose();
        _data.Dispose();
    }
}
