// The optimizer step of one stage: AdamW, or Muon on hidden matrices with AdamW for the rest, each logical tensor by itself
// (q, k and v share storage but not an orthogonalisation). State is Float32, planned once.
//   AdamW state m, v      Muon state: momentum      weight decay on everything but norms, decoupled
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

    readonly RunConfig _run;
    readonly nint _address;
    nint _muonScratch;

    /// <summary>Plans and allocates zeroed state.</summary>
    public Optimizer(ParameterSet parameters, RunConfig run)
    {
        (Parameters, _run) = (parameters, run);
        State = new OptimizerState[parameters.All.Count];
        _address = Arena.Allocate(parameters.Device, $"optimizer state of {parameters.Range}", arena => _muonScratch = Lay(arena, State, parameters.All, run.Optimizer, parameters.Device.Ops));
    }

    /// <summary>The weights that it moves.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>State of each tensor, in the order of <see cref="ParameterSet.All"/>.</summary>
    public OptimizerState[] State { get; }

    /// <summary>Bytes of the state of a stage.</summary>
    public static long Measure(ModelConfig model, StageRange range, OptimizerKind kind, IDevice device)
    {
        IReadOnlyList<Parameter> parameters = new ParameterLayout(model, range, device.ComputeType, new Arena(0), null).All;
        return Arena.Measure(arena => Lay(arena, new OptimizerState[parameters.Count], parameters, kind, device.Ops));
    }

    static nint Lay(Arena arena, OptimizerState[] state, IReadOnlyList<Parameter> parameters, OptimizerKind kind, IOps ops)
    {
        long scratchBytes = 0;
        for (int i = 0; i < state.Length; i++)
        {
            Parameter parameter = parameters[i];
            (int rows, int columns) = (parameter.Value.Rows, parameter.Value.Columns);
            bool muon = kind == OptimizerKind.Muon && parameter.Kind == ParameterKind.Hidden;
            state[i] = new OptimizerState(
                arena.Take(ElementType.Float32, rows, columns), muon ? default : arena.Take(ElementType.Float32, rows, columns));
            scratchBytes = muon ? Math.Max(scratchBytes, ops.MuonBytes(rows, columns)) : scratchBytes;
        }

        return arena.TakeBytes(scratchBytes);
    }

    /// <summary>Moves every weight once.</summary>
    /// <param name="step">Counted from 1; AdamW's bias correction depends on it.</param>
    /// <param name="learningRate">The schedule's rate of this step.</param>
    /// <param name="gradientScale">Factor on all gradients: the clip.</param>
    public void Step(long step, double learningRate, double gradientScale)
    {
        IOps ops = Parameters.Device.Ops;
        for (int i = 0; i < State.Length; i++)
        {
            Parameter parameter = Parameters.All[i];
            float decay = parameter.Decays ? (float)_run.WeightDecay : 0;
            if (State[i].IsMuon)
            {
                ops.Muon(
                    parameter.Value, parameter.Low, parameter.Gradient, State[i].First,
                    new MuonStep((float)learningRate, (float)_run.Momentum, decay, (float)gradientScale), _muonScratch);
            }
            else
            {
                ops.AdamW(
                    parameter.Value, parameter.Low, parameter.Gradient, State[i].First, State[i].Second,
                    new AdamWStep((int)step, (float)learningRate, (float)_run.Beta1, (float)_run.Beta2, AdamEpsilon, decay, (float)gradientScale));
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Parameters.Device.Free(_address);
}
