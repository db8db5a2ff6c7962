// One peer's stage at work: weights, optimizer state, activations of the microbatches in flight, and the gradient sum.
// It computes on memory that others hand to it (page-locked slots with payloads) and knows no network and no schedule.
// Forward, backward and replay of a microbatch give the bits that the same stage gives in a single process.
// Calls start work and do not wait for it: a payload that goes out is there, and one that came in is free, when a later mark of the
// device's transfers is reached (on the CPU: at once). Not thread-safe: one thread drives it.
using System.Runtime.InteropServices;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Kernels;

namespace OrionNative.Engine.Pipeline;

/// <summary>A stage in training on one device.</summary>
sealed unsafe class StageWorker : IDisposable
{
    const int LossesKept = 16;

    readonly RunConfig _run;
    readonly CodePayload _payload;
    readonly ParameterSet _parameters;
    readonly Optimizer _optimizer;
    readonly Tensor _clip;
    readonly StageModel _stage;
    readonly LearningRateSchedule _schedule;
    readonly int[] _inputs;
    readonly int[] _targets;
    readonly int[] _microbatchInSlot;
    readonly float _gradientScale;
    readonly ITransfers _transfers;
    readonly Tensor _lossSums;
    readonly double* _hostLossSums;
    readonly nint _hash;
    int _losses;
    int _nextVictim;

    /// <summary>Plans and allocates; weights are zero until <see cref="Initialize"/> or a load.</summary>
    public StageWorker(ModelConfig model, StageRange range, RunConfig run, IDevice device, int slots)
    {
        (Model, Range, _run) = (model, range, run);
        DeviceFit.Check(model, device);
        _payload = CodePayload.Of(model, run);
        _parameters = new ParameterSet(model, range, device, gradients: true);
        _clip = new Tensor(device.Allocate(sizeof(float), "the clip"), ElementType.Float32, 1, 1);
        _optimizer = new Optimizer(_parameters, run, _clip);
        _stage = new StageModel(_parameters, OptionsOf(run, slots));
        _schedule = LearningRateSchedule.Of(run);
        _inputs = new int[_payload.Rows];
        _targets = new int[_payload.Rows];
        _microbatchInSlot = new int[slots];
        Array.Fill(_microbatchInSlot, -1);
        _gradientScale = 1f / ((long)run.Microbatches * _payload.Rows);
        Gradients = new GradientSum(_parameters);
        _transfers = device.Transfers;
        _lossSums = new Tensor(device.Allocate(sizeof(double) * LossesKept, "losses"), ElementType.Float64, 1, LossesKept);
        _hostLossSums = (double*)_transfers.AllocateHost(sizeof(double) * LossesKept, "losses");
        _hash = device.Allocate(sizeof(ulong), "the hash of the weights");
    }

    /// <summary>What such a worker will occupy, known before one is built: with a second gradient, the reduced one.</summary>
    public static MemoryPlan Plan(ModelConfig model, StageRange range, RunConfig run, IDeviceSizes device, int slots)
    {
        MemoryPlan plan = MemoryPlan.Of(model, range, OptionsOf(run, slots), device);
        (long state, long host) = Optimizer.Measure(model, range, run, device);
        return plan with { Gradients = 2 * plan.Gradients, OptimizerState = state, Scratch = plan.Scratch + device.WorkspaceBytes, Host = plan.Host + host };
    }

    static StageOptions OptionsOf(RunConfig run, int slots) =>
        new(run.MicrobatchSize, run.Sequence, run.Wire, slots, run.Recompute, Offload: run.OffloadsActivations);

    /// <summary>The model that this is a stage of.</summary>
    public ModelConfig Model { get; }

    /// <summary>The stage's blocks.</summary>
    public StageRange Range { get; }

    /// <summary>The gradient sum of the open step.</summary>
    public GradientSum Gradients { get; }

    /// <summary>Weights and optimizer state, by name.</summary>
    public IEnumerable<StateTensor> State => StateTensor.All(_parameters, _optimizer);

    /// <summary>Weights as the run's seed gives them, the optimizer at rest.</summary>
    public void Initialize(long seed)
    {
        _parameters.Initialize(seed);
        _optimizer.Reset();
        ForgetActivations();
    }

    /// <summary>From the payload that came in (null in the first stage, whose ids lie behind output) to the payload that goes
    /// out (null in the last stage).</summary>
    public void Forward(int microbatch, byte* input, byte* output)
    {
        int slot = SlotFor(microbatch);
        byte* ids = (input != null ? input : output) + _payload.CodeBytes;
        _payload.ReadIds(new ReadOnlySpan<byte>(ids, _payload.IdsBytes), Model.Vocabulary, _inputs, _targets);
        _stage.Begin(slot, _inputs, _targets, _payload.Tokens);
        IOps ops = _parameters.Device.Ops;
        if (!Range.HasEmbedding)
        {
            ops.CodeUnpack(_transfers.Arrive((nint)input, _payload.CodeBytes), _payload.Format, _stage.CodeIn(slot));
        }

        _stage.Forward(slot);
        if (!Range.HasHead)
        {
            Send(_stage.CodeOut(slot), output);
            if (input != null)
            {
                Buffer.MemoryCopy(ids, output + _payload.CodeBytes, _payload.IdsBytes, _payload.IdsBytes);
            }
        }
    }

    /// <summary>Adds the microbatch to the gradient sum: from the code gradient that came back (null in the last stage) to the
    /// one that goes back (null in the first). Activations that are gone are made again from input. Returns the number of the
    /// loss for <see cref="LossOf"/>, which keeps the last 16.</summary>
    public int Backward(int microbatch, byte* input, byte* output, byte* outputGradient, byte* inputGradient)
    {
        int slot = Array.IndexOf(_microbatchInSlot, microbatch);
        if (slot < 0)
        {
            Forward(microbatch, input, output);
            slot = Array.IndexOf(_microbatchInSlot, microbatch);
        }

        IOps ops = _parameters.Device.Ops;
        if (!Range.HasHead)
        {
            ops.CodeUnpack(_transfers.Arrive((nint)outputGradient, _payload.CodeBytes), _payload.Format, _stage.CodeOutGradient(slot));
        }

        _stage.Backward(slot, _gradientScale);
        _microbatchInSlot[slot] = -1;
        if (!Range.HasEmbedding)
        {
            Send(_stage.CodeInGradient(slot), inputGradient);
        }

        int loss = _losses++ % LossesKept;
        if (Range.HasHead)
        {
            _stage.SumLosses(slot, _lossSums, loss);
            _transfers.Depart(_lossSums.Address + (sizeof(double) * loss), (nint)(_hostLossSums + loss), sizeof(double));
        }

        return loss;
    }

    /// <summary>The mean loss of the microbatch of a <see cref="Backward"/> whose mark was reached; 0 but in the last stage.</summary>
    public double LossOf(int loss) => Range.HasHead ? _hostLossSums[loss] / _payload.Rows : 0;

    void Send(Tensor code, byte* payload)
    {
        nint packed = _transfers.Departing((nint)payload, _payload.CodeBytes);
        _parameters.Device.Ops.CodePack(code, _payload.Format, packed);
        _transfers.Depart(packed, (nint)payload, _payload.CodeBytes);
    }

    /// <summary>The optimizer step on the reduced gradient; afterwards the sum is zero.</summary>
    /// <param name="step">Counted from 1.</param>
    /// <param name="scale">Factor on the gradient: the clip.</param>
    public void Apply(int step, double scale)
    {
        Gradients.TakeReduced();
        float clip = (float)scale;
        _parameters.Device.Upload(MemoryMarshal.AsBytes(new ReadOnlySpan<float>(in clip)), _clip.Address);
        _optimizer.Step(step, _schedule.At(step - 1));
        Gradients.Clear();
        ForgetActivations();
    }

    /// <summary>The <see cref="WeightHash"/> of the stage's exact masters in canonical order, taken where they lie: replicas on any devices
    /// have one value exactly when they hold the same bits. Waits for it.</summary>
    public ulong HashWeights()
    {
        IDevice device = _parameters.Device;
        device.Ops.Zero(new Tensor(_hash, ElementType.Float32, 1, sizeof(ulong) / sizeof(float)));
        long first = 0;
        foreach (Parameter parameter in _parameters.All)
        {
            device.Ops.HashWeights(parameter.Value, parameter.Low, first, _hash);
            first += parameter.Count;
        }

        ulong hash = 0;
        device.Download(_hash, MemoryMarshal.AsBytes(new Span<ulong>(ref hash)));
        return hash;
    }

    /// <summary>No activations are kept: the weights changed, or the step is over.</summary>
    public void ForgetActivations() => Array.Fill(_microbatchInSlot, -1);

    int SlotFor(int microbatch)
    {
        int slot = Array.IndexOf(_microbatchInSlot, microbatch);
        slot = slot >= 0 ? slot : Array.IndexOf(_microbatchInSlot, -1);
        if (slot < 0)
        {
            // work that was taken away leaves its activations behind; whoever is overwritten is recomputed if it comes back
            slot = _nextVictim;
            _nextVictim = (_nextVictim + 1) % _microbatchInSlot.Length;
        }

        _microbatchInSlot[slot] = microbatch;
        return slot;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _parameters.Device.Synchronize();
        _transfers.FreeHost((nint)_hostLossSums);
        _parameters.Device.Free(_lossSums.Address);
        _parameters.Device.Free(_hash);
        Gradients.Dispose();
        _stage.Dispose();
        _optimizer.Dispose();
        _parameters.Device.Free(_clip.Address);
        _parameters.Dispose();
    }
}
