// Training in one process: M microbatches, then one optimizer step, over a chain of stages that is cut where the run's
// boundaries are. With codes, or on a wire that holds the compute type, a swarm of any stages with one replica each has its bits.
//   loss = sum over the step's tokens / tokens      gradient of exactly this      g *= min(1, clip/|g|)      optimizer step
// Everything of a step depends on (weights, optimizer state, step number) alone, so a resumed run continues exactly.
using System.Diagnostics;
using System.Security.Cryptography;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Training;

/// <summary>A model in training on one device.</summary>
sealed class Trainer : IDisposable
{
    readonly RunConfig _run;
    readonly IBatchSource _batches;
    readonly LearningRateSchedule _schedule;
    readonly ParameterSet[] _parameters;
    readonly Optimizer[] _optimizers;
    readonly GradientNorm _norm;
    readonly StageChain _chain;
    readonly Tensor _lossSums;
    readonly IDevice _device;
    readonly IRecordedWork _zero;
    readonly int[] _inputs;
    readonly int[] _targets;

    /// <summary>Plans, allocates and initialises everything from the run's seed.</summary>
    /// <param name="model">The model, validated; its boundaries are where codes cross.</param>
    /// <param name="run">Hyperparameters and batch shape; <see cref="RunConfig.Sequence"/> is resolved.</param>
    /// <param name="device">Where to compute; not owned.</param>
    /// <param name="batches">Training tokens; not owned.</param>
    /// <param name="cuts">Where the chain is cut into stages; null cuts at every boundary of the model.</param>
    /// <exception cref="InsufficientMemoryException">The plan does not fit.</exception>
    public Trainer(ModelConfig model, RunConfig run, IDevice device, IBatchSource batches, IReadOnlyList<int>? cuts = null)
    {
        (Model, _run, _device, _batches) = (model, run, device, batches);
        DeviceFit.Check(model, device);
        _schedule = LearningRateSchedule.Of(run);
        StageRange[] ranges = StageRange.Cut(model, cuts ?? model.Boundaries);
        _parameters = Array.ConvertAll(ranges, range => new ParameterSet(model, range, device, gradients: true));
        _chain = new StageChain(_parameters, OptionsOf(run));
        _zero = device.Record(() => Array.ForEach(_parameters, parameters => parameters.ZeroGradients()));
        _lossSums = new Tensor(device.Allocate(8L * run.Microbatches, "losses"), ElementType.Float64, 1, run.Microbatches);
        _norm = new GradientNorm(_parameters, _lossSums, run.Clip);
        _optimizers = Array.ConvertAll(_parameters, parameters => new Optimizer(parameters, run, _norm.Scale));
        _inputs = new int[run.MicrobatchSize * run.Sequence];
        _targets = new int[_inputs.Length];
        foreach (ParameterSet parameters in _parameters)
        {
            parameters.Initialize(run.Seed);
        }
    }

    /// <summary>What such a trainer will occupy, known before one is built.</summary>
    public static MemoryPlan Plan(ModelConfig model, RunConfig run, IDeviceSizes device, IReadOnlyList<int>? cuts = null)
    {
        MemoryPlan total = new() { Scratch = device.WorkspaceBytes };
        foreach (StageRange range in StageRange.Cut(model, cuts ?? model.Boundaries))
        {
            MemoryPlan stage = MemoryPlan.Of(model, range, OptionsOf(run), device);
            (long state, long host) = Optimizer.Measure(model, range, run, device);
            total += stage with { OptimizerState = state, Host = stage.Host + host };
        }

        return total;
    }

    static StageOptions OptionsOf(RunConfig run) => new(run.MicrobatchSize, run.Sequence, run.Wire, 1, run.Recompute, Offload: run.OffloadsActivations);

    /// <summary>The model in training.</summary>
    public ModelConfig Model { get; }

    /// <summary>Weights, stage by stage in canonical order; evaluation and generation share them.</summary>
    public IReadOnlyList<ParameterSet> Parameters => _parameters;

    /// <summary>Steps done: 0 at the start, set after loading a checkpoint's state.</summary>
    public long StepsDone { get; set; }

    /// <summary>Weights and optimizer state, by name, for checkpoints. Stages do not show in the names.</summary>
    public IEnumerable<StateTensor> State =>
        _optimizers.SelectMany(optimizer => StateTensor.All(optimizer.Parameters, optimizer));

    /// <summary>One inner step. Allocates nothing. All of it is called without waiting for any of it: the device clips by the norm
    /// that it finds, and applies nothing where norm or loss is not finite. The host waits once, at the end, to say how it went.</summary>
    /// <exception cref="NonFiniteException">Loss or gradient is not finite; nothing was applied.</exception>
    /// <exception cref="ArgumentException">The batch has a position without a target; nothing was applied.</exception>
    public StepResult Step()
    {
        long started = Stopwatch.GetTimestamp();
        _zero.Run();
        long tokens = (long)_run.Microbatches * _inputs.Length;
        for (int microbatch = 0; microbatch < _run.Microbatches; microbatch++)
        {
            _batches.Fill(StepsDone, microbatch, _inputs, _targets);
            RequireTargets(microbatch);
            _chain.Train(_inputs, _targets, _run.Sequence, 1f / tokens, _lossSums, microbatch);
        }

        _norm.Begin();
        double rate = _schedule.At(StepsDone);
        foreach (Optimizer optimizer in _optimizers)
        {
            optimizer.Step(StepsDone + 1, rate);
        }

        (double norm, double lossSum) = _norm.Read();
        double loss = lossSum / tokens;
        RequireFinite("loss", loss);
        RequireFinite("gradient norm", norm);
        StepsDone++;
        return new StepResult(StepsDone, loss, rate, norm, tokens, Stopwatch.GetElapsedTime(started).TotalSeconds);
    }

    // loss and gradient are divided by all positions before the first of them is known: a masked one would weigh them wrongly
    void RequireTargets(int microbatch)
    {
        int masked = _targets.AsSpan().IndexOfAnyInRange(int.MinValue, -1);
        if (masked >= 0)
        {
            throw new ArgumentException(
                $"step {StepsDone + 1}, microbatch {microbatch}: position {masked} has the target {_targets[masked]}; training predicts every position, so targets are ids from 0 on");
        }
    }

    void RequireFinite(string quantity, double value)
    {
        if (!double.IsFinite(value))
        {
            throw new NonFiniteException(StepsDone + 1, quantity, value);
        }
    }

    /// <summary>SHA-256 over all master weights in canonical order, in hexadecimal.</summary>
    public string WeightsHash()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (ParameterSet parameters in _parameters)
        {
            parameters.AppendTo(hash);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _chain.Dispose();
        _zero.Dispose();
        _device.Free(_lossSums.Address);
        _norm.Dispose();
        Array.ForEach(_optimizers, optimizer => optimizer.Dispose());
        Array.ForEach(_parameters, parameters => parameters.Dispose());
    }
}
