// A tensor of a training state as a checkpoint sees it: a name, a shape, single-precision values in and out by ranges.
//   weights       the parameter's Hugging Face name
//   AdamW         optimizer.m.<name>, optimizer.v.<name>        Muon        optimizer.momentum.<name>
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Training;

/// <summary>A named [rows, columns] Float32 tensor of a training state.</summary>
sealed class StateTensor
{
    readonly ParameterSet _parameters;
    readonly Parameter _parameter;
    readonly Optimizer? _optimizer;
    readonly Tensor _state;

    StateTensor(string name, ParameterSet parameters, Parameter parameter, Optimizer? optimizer, Tensor state)
    {
        (Name, _parameters, _parameter, _optimizer, _state) = (name, parameters, parameter, optimizer, state);
    }

    /// <summary>Unique in the run.</summary>
    public string Name { get; }

    /// <summary>The weight's name, also for its optimizer state.</summary>
    public string ParameterName => _parameter.Name;

    /// <summary>Rows; norm weights have one row.</summary>
    public int Rows => _parameter.Value.Rows;

    /// <summary>Columns.</summary>
    public int Columns => _parameter.Value.Columns;

    /// <summary>True for a norm weight, whose shape in a file is [columns].</summary>
    public bool IsVector => _parameter.Kind == ParameterKind.Norm;

    /// <summary>True for a weight, false for optimizer state.</summary>
    public bool IsWeight => _state.Rows == 0;

    /// <summary>Elements.</summary>
    public long Count => _parameter.Count;

    /// <summary>Bytes of all values of a stage's state, known before there is one.</summary>
    public static long Bytes(ModelConfig model, StageRange range, RunConfig run) =>
        new ParameterLayout(model, range, ElementType.Float32, new Arena(0), null).All
            .Sum(parameter => sizeof(float) * parameter.Count * (run.Optimizer == OptimizerKind.Muon && parameter.Kind == ParameterKind.Hidden ? 2 : 3));

    /// <summary>The weights of a stage in canonical order, and after them its optimizer state, if given.</summary>
    public static IEnumerable<StateTensor> All(ParameterSet parameters, Optimizer? optimizer)
    {
        foreach (Parameter parameter in parameters.All)
        {
            yield return new StateTensor(parameter.Name, parameters, parameter, null, default);
        }

        for (int i = 0; i < (optimizer?.State.Length ?? 0); i++)
        {
            Parameter parameter = parameters.All[i];
            OptimizerState state = optimizer!.State[i];
            yield return new StateTensor((state.IsMuon ? "optimizer.momentum." : "optimizer.m.") + parameter.Name, parameters, parameter, optimizer, state.First);
            if (!state.IsMuon)
            {
                yield return new StateTensor("optimizer.v." + parameter.Name, parameters, parameter, optimizer, state.Second);
            }
        }
    }

    /// <summary>Copies values from element <paramref name="start"/> on out of the device.</summary>
    public void Read(long start, Span<float> values)
    {
        if (IsWeight)
        {
            _parameters.Read(_parameter, start, values);
        }
        else
        {
            CheckRange(start, values.Length);
            _optimizer!.Read(_state, start, values);
        }
    }

    /// <summary>Copies values from element <paramref name="start"/> on into the device.</summary>
    public void Write(long start, ReadOnlySpan<float> values)
    {
        if (IsWeight)
        {
            _parameters.Write(_parameter, start, values);
        }
        else
        {
            CheckRange(start, values.Length);
            _optimizer!.Write(_state, start, values);
        }
    }

    void CheckRange(long start, int count)
    {
        if (start < 0 || start + count > Count)
        {
            throw new ArgumentOutOfRangeException(nameof(start), $"elements {start} to {start + count} of {Name}, which has {Count}");
        }
    }
}
