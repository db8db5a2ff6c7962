// A peer like this machine: the run's own stages, timed with the worker that a peer uses. Stages of one shape are timed once.
// A stage too large for a few seconds or a quarter of the memory is replaced by one block (of this model, else of `30m`), and times
// go with FLOP and parameters; the plan says so.
// Peers that share this machine slow each other down, so as many workers run at once as will in the run, up to the processors.
using System.Diagnostics;
using System.Globalization;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Engine.Planning;

sealed class MeasuredSpeed : IPeerSpeed, IDisposable
{
    const double SecondsMost = 2;
    const double PeakShare = 0.4;   // of products, to guess how long a measurement would take
    const double WeightsPerSecond = 30e6;   // initial values that are drawn
    const string SmallModel = "30m";

    readonly PlannedRun _run;
    readonly int _threads, _workers;
    readonly CpuDevice _device;
    readonly Dictionary<(bool, bool, int), StageSeconds> _measured = [];
    readonly HashSet<string> _stoodIn = [];
    readonly string _busy;

    /// <param name="run">The run that is planned.</param>
    /// <param name="threads">Of one peer.</param>
    /// <param name="workers">Peers that compute on this machine at once.</param>
    public MeasuredSpeed(PlannedRun run, int threads, int workers)
    {
        (_run, _threads, _workers) = (run, threads, workers);
        _device = new CpuDevice(threads);
        PeakFlops = 1e9 * CpuPeak.MeasureFmaGflops(threads);
        double load = OperatingSystem.IsLinux() && File.ReadAllText("/proc/loadavg").Split(' ') is [var last, ..] ? double.Parse(last, CultureInfo.InvariantCulture) : 0;
        _busy = load > Environment.ProcessorCount / 2.0
            ? string.Create(CultureInfo.InvariantCulture, $". The machine is busy (load {load:F1} on {Environment.ProcessorCount} processors): at rest peers are faster") : "";
    }

    /// <inheritdoc/>
    public IDeviceSizes Sizes => _device;

    /// <summary>Memory that such a peer offers when nobody says otherwise.</summary>
    public long MemoryBytes => _device.MemoryBytes;

    /// <inheritdoc/>
    public double PeakFlops { get; }

    /// <inheritdoc/>
    public string Source => string.Create(CultureInfo.InvariantCulture, $"measured now on this machine: {_device.Name}")
        + (_workers > 1 ? $", {_workers} peers at once" : "")
        + (_stoodIn.Count > 0 ? $"; stages are too large to time here, so {string.Join(" and ", _stoodIn)} stood in, scaled by FLOP and parameters" : ", the run's own stages") + _busy;

    /// <inheritdoc/>
    public StageSeconds Of(StageRange range)
    {
        (bool, bool, int) shape = (range.HasEmbedding, range.HasHead, range.BlockCount);
        if (!_measured.TryGetValue(shape, out StageSeconds seconds))
        {
            _measured[shape] = seconds = Fits(_run, range) ? Measure(_run, range) : Scaled(range);
        }

        return seconds;
    }

    bool Fits(PlannedRun run, StageRange range)
    {
        long parameters = run.ParametersOf(range);
        long memory = StageWorker.Plan(run.Model, range, run.Config, _device, 1).Total * _workers;
        return (4 * run.FlopOf(range) / (PeakShare * PeakFlops)) + (parameters / WeightsPerSecond) <= SecondsMost
            && memory <= Math.Min(MemoryBytes / 4, 4L << 30);
    }

    StageSeconds Scaled(StageRange range)
    {
        PlannedRun small = StandIn(out StageRange block);
        (bool, bool, int) shape = (false, false, 0);
        if (!_measured.TryGetValue(shape, out StageSeconds seconds))
        {
            _measured[shape] = seconds = Measure(small, block);
        }

        double flop = _run.FlopOf(range) / small.FlopOf(block), parameters = (double)_run.ParametersOf(range) / small.ParametersOf(block);
        return new StageSeconds(flop * seconds.Forward, flop * seconds.Backward, parameters * seconds.Sum, parameters * seconds.Apply);
    }

    // a block in the middle, without codes and ends
    PlannedRun StandIn(out StageRange block)
    {
        block = new StageRange(1, 2, 3);
        RunConfig config = _run.Config with { Stages = 1, Replicas = 1, Boundary = BoundaryKind.None, CodeWidth = 0 };
        foreach ((string name, ModelConfig like, RunConfig run) in (ReadOnlySpan<(string, ModelConfig, RunConfig)>)
        [
            ("one block", _run.Model, config),
            ("one block on one sequence", _run.Model, config with { MicrobatchSize = 1 }),
            ($"a block of {SmallModel}", ModelPresets.Get(SmallModel), config with { MicrobatchSize = 1, Sequence = Math.Min(config.Sequence, 512) }),
        ])
        {
            ModelConfig model = like with { Layers = 3, Vocabulary = 256, Boundary = BoundaryKind.None, Boundaries = [], CodeWidth = 0, AnchorRank = 0 };
            PlannedRun small = new(new ResolvedRun(run, model, Data.ByteTokenizer.Instance));
            if (name.EndsWith(SmallModel, StringComparison.Ordinal) || Fits(small, block))
            {
                _stoodIn.Add(name);
                return small;
            }
        }

        throw new UnreachableException();
    }

    StageSeconds Measure(PlannedRun run, StageRange range)
    {
        StageSeconds[] found = new StageSeconds[_workers];
        Exception? failure = null;
        using Barrier together = new(_workers);
        Thread[] threads = [.. Enumerable.Range(0, _workers).Select(i => new Thread(() =>
        {
            try
            {
                using CpuDevice device = new(_threads);
                using StageBench bench = new(run, range, device);
                together.SignalAndWait();
                found[i] = bench.Run();
                together.SignalAndWait();
            }
            catch (Exception error)
            {
                failure = error;
                together.RemoveParticipant();
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        return failure is not null ? throw new InvalidOperationException($"{range} could not be timed on this machine: {failure.Message}", failure)
            : new StageSeconds(found.Average(s => s.Forward), found.Average(s => s.Backward), found.Average(s => s.Sum), found.Average(s => s.Apply));
    }

    /// <inheritdoc/>
    public void Dispose() => _device.Dispose();
}
