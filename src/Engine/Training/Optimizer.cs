// The optimizer step of one stage: AdamW, or Muon on hidden matrices with AdamW for the rest, each logical tensor by itself
// (q, k and v share storage but not an orthogonalisation). State is Float32, planned once.
//   AdamW state m, v      Muon state: momentum      weight decay on everything but norms, decoupled
// What changes from step to step (rate, bias corrections, the clip) lies in device memory, so the whole step is recorded once and replayed.
// Offloaded, the state lies in page-locked host memory and passes through the device once a step, a piece coming while another is
// computed and a third leaves; the bits are those of a state that stays.
using System.Runtime.InteropServices;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Training;

/// <summary>One tensor's optimizer state.</summary>
/// <param name="First">AdamW's m or Muon's momentum, of the parameter's shape.</param>
/// <param name="Second">AdamW's v; empty under Muon.</param>
readonly record struct OptimizerState(Tensor First, Tensor Second)
{
    /// <summary>True when Muon moves this tensor.</summary>
    public bool IsMuon => Second.Rows == 0;
}

/// <summary>Moves the weights of one stage.</summary>
sealed class Optimizer : IDisposable
{
    const float AdamEpsilon = 1e-8f;
    const long PieceBytes = 32 << 20;

    // settings of AdamW with and without decay, and of Muon
    const int SettingsBytes = (2 * AdamWStep.SettingsBytes) + MuonStep.SettingsBytes;

    readonly RunConfig _run;
    readonly ITransfers _transfers;
    readonly Tensor _scale;
    readonly nint _address;
    readonly nint _hostAddress;
    readonly IRecordedWork _work;
    nint _muonScratch;
    nint _settings;

    /// <summary>Plans and allocates zeroed state.</summary>
    /// <param name="parameters">The weights; not owned.</param>
    /// <param name="run">Rule and hyperparameters.</param>
    /// <param name="scale">One Float32 in device memory, not owned: the factor on all gradients, which is the clip. Below zero a step
    /// moves nothing.</param>
    public Optimizer(ParameterSet parameters, RunConfig run, Tensor scale)
    {
        (Parameters, _run, _transfers, _scale) = (parameters, run, parameters.Device.Transfers, scale);
        State = new OptimizerState[parameters.All.Count];
        string purpose = $"optimizer state of {parameters.Range}";
        if (IsOffloaded)
        {
            _hostAddress = _transfers.AllocateHost(Arena.Measure(arena => Lay(arena, State, parameters.All, run.Optimizer)), purpose);
            Lay(new Arena(_hostAddress), State, parameters.All, run.Optimizer);
        }

        _address = Arena.Allocate(parameters.Device, purpose, arena =>
        {
            if (!IsOffloaded)
            {
                Lay(arena, State, parameters.All, run.Optimizer);
            }

            _muonScratch = arena.TakeBytes(ScratchBytes(State, parameters.Device.Ops));
            _settings = arena.TakeBytes(SettingsBytes);
        });
        _work = parameters.Device.Record(CallStep);
    }

    /// <summary>The weights that it moves.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>State of each tensor, in the order of <see cref="ParameterSet.All"/>; in host memory when offloaded.</summary>
    public OptimizerState[] State { get; }

    /// <summary>True when the state lies in host memory.</summary>
    public bool IsOffloaded => _run.OffloadsOptimizer;

    /// <summary>Bytes of the state and scratch of a stage, on the device and in host memory.</summary>
    public static (long Device, long Host) Measure(ModelConfig model, StageRange range, RunConfig run, IDeviceSizes device)
    {
        IReadOnlyList<Parameter> parameters = new ParameterLayout(model, range, device.ComputeType, new Arena(0), null).All;
        OptimizerState[] state = new OptimizerState[parameters.Count];
        long stateBytes = Arena.Measure(arena => Lay(arena, state, parameters, run.Optimizer));
        long scratchBytes = Arena.Measure(arena =>
        {
            arena.TakeBytes(ScratchBytes(state, device.Scratch));
            arena.TakeBytes(SettingsBytes);
        });
        return run.OffloadsOptimizer ? (scratchBytes, stateBytes) : (stateBytes + scratchBytes, 0);
    }

    static void Lay(Arena arena, OptimizerState[] state, IReadOnlyList<Parameter> parameters, OptimizerKind kind)
    {
        for (int i = 0; i < state.Length; i++)
        {
            Parameter parameter = parameters[i];
            (int rows, int columns) = (parameter.Value.Rows, parameter.Value.Columns);
            bool muon = kind == OptimizerKind.Muon && parameter.Kind == ParameterKind.Hidden;
            state[i] = new OptimizerState(
                arena.Take(ElementType.Float32, rows, columns), muon ? default : arena.Take(ElementType.Float32, rows, columns));
        }
    }

    static long ScratchBytes(OptimizerState[] state, IScratchSizes sizes) =>
        state.Where(tensor => tensor.IsMuon).Select(tensor => sizes.MuonBytes(tensor.First.Rows, tensor.First.Columns)).DefaultIfEmpty().Max();

    /// <summary>Moves every weight once, unless the scale forbids it.</summary>
    /// <param name="step">Counted from 1; AdamW's bias correction depends on it.</param>
    /// <param name="learningRate">The schedule's rate of this step.</param>
    public void Step(long step, double learningRate)
    {
        IOps ops = Parameters.Device.Ops;
        AdamWStep adamW = new((int)step, (float)learningRate, (float)_run.Beta1, (float)_run.Beta2, AdamEpsilon, (float)_run.WeightDecay);
        ops.SetAdamW(adamW, AdamWSettings(decays: true));
        ops.SetAdamW(adamW with { WeightDecay = 0 }, AdamWSettings(decays: false));
        ops.SetMuon(new MuonStep((float)learningRate, (float)_run.Momentum, (float)_run.WeightDecay), MuonSettings);
        if (IsOffloaded)
        {
            // the copies go through staging that pieces take in turn: called, not recorded
            _transfers.Fence();
            CallStep();
        }
        else
        {
            _work.Run();
        }
    }

    nint AdamWSettings(bool decays) => _settings + (decays ? 0 : AdamWStep.SettingsBytes);

    nint MuonSettings => _settings + (2 * AdamWStep.SettingsBytes);

    void CallStep()
    {
        for (int i = 0; i < State.Length; i++)
        {
            if (State[i].IsMuon)
            {
                StepMuon(Parameters.All[i], State[i]);
            }
            else
            {
                StepAdamW(Parameters.All[i], State[i]);
            }
        }
    }

    // Muon moves hidden matrices, which all decay
    void StepMuon(Parameter parameter, OptimizerState state)
    {
        Tensor momentum = Arrive(state.First);
        Parameters.Device.Ops.Muon(parameter.Value, parameter.Low, parameter.Gradient, momentum, MuonSettings, _scale, _muonScratch);
        Depart(momentum, state.First);
    }

    void StepAdamW(Parameter parameter, OptimizerState state)
    {
        nint settings = AdamWSettings(parameter.Decays);
        int rows = parameter.Value.Rows;
        int most = IsOffloaded ? (int)Math.Clamp(PieceBytes / (sizeof(float) * (long)parameter.Value.Columns), 1, rows) : rows;
        for (int row = 0; row < rows; row += most)
        {
            int count = Math.Min(most, rows - row);
            Tensor hostM = state.First.RowRange(row, count), hostV = state.Second.RowRange(row, count);
            Tensor m = Arrive(hostM), v = Arrive(hostV), low = parameter.Low;
            Parameters.Device.Ops.AdamW(
                parameter.Value.RowRange(row, count), low.IsEmpty ? low : low.RowRange(row, count), parameter.Gradient.RowRange(row, count), m, v, settings, _scale);
            Depart(m, hostM);
            Depart(v, hostV);
        }
    }

    Tensor Arrive(Tensor state) => IsOffloaded ? state with { Address = _transfers.Arrive(state.Address, state.Bytes) } : state;

    void Depart(Tensor state, Tensor host)
    {
        if (IsOffloaded)
        {
            _transfers.Depart(state.Address, host.Address, host.Bytes);
        }
    }

    /// <summary>State from an element on, out.</summary>
    public void Read(Tensor state, long start, Span<float> values)
    {
        Span<byte> bytes = MemoryMarshal.AsBytes(values);
        nint from = state.Address + (nint)(sizeof(float) * start);
        if (IsOffloaded)
        {
            HostBytes(from, bytes.Length).CopyTo(bytes);
        }
        else
        {
            Parameters.Device.Download(from, bytes);
        }
    }

    /// <summary>State from an element on, in.</summary>
    public void Write(Tensor state, long start, ReadOnlySpan<float> values)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(values);
        nint to = state.Address + (nint)(sizeof(float) * start);
        if (IsOffloaded)
        {
            bytes.CopyTo(HostBytes(to, bytes.Length));
        }
        else
        {
            Parameters.Device.Upload(bytes, to);
        }
    }

    unsafe Span<byte> HostBytes(nint address, int bytes)
    {
        _transfers.Wait(_transfers.Mark());
        return new Span<byte>((void*)address, bytes);
    }

    /// <summary>The state of a run's beginning: all zero.</summary>
    public void Reset()
    {
        float[] zeros = new float[1 << 16];
        foreach (OptimizerState state in State)
        {
            Zero(state.First);
            if (!state.IsMuon)
            {
                Zero(state.Second);
            }
        }

        void Zero(Tensor tensor)
        {
            if (!IsOffloaded)
            {
                Parameters.Device.Ops.Zero(tensor);
                return;
            }

            for (long start = 0; start < tensor.Count; start += zeros.Length)
            {
                Write(tensor, start, zeros.AsSpan(0, (int)Math.Min(zeros.Length, tensor.Count - start)));
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _work.Dispose();
        Parameters.Device.Free(_address);
        if (IsOffloaded)
        {
            _transfers.FreeHost(_hostAddress);
        }
    }
}
