// The global gradient norm, the same for any cut of the model: one sum of squares for each logical tensor, in double, and
// these added in canonical order over all stages.      norm = sqrt(sum_tensor sum_i g_i^2)      clip = min(1, limit/norm)
using System.Runtime.InteropServices;
using OrionNative.Engine.Model;
using OrionNative.Kernels;

namespace OrionNative.Engine.Training;

/// <summary>Sums of squares of the gradients of one stage.</summary>
sealed class GradientNorm : IDisposable
{
    readonly ParameterSet _parameters;
    readonly Tensor _results;
    readonly double[] _squares;
    readonly IRecordedWork _work;

    public GradientNorm(ParameterSet parameters)
    {
        _parameters = parameters;
        int count = parameters.All.Count;
        _squares = new double[count];
        _results = new Tensor(parameters.Device.Allocate(8L * count, $"gradient norms of {parameters.Range}"), ElementType.Float64, 1, count);
        _work = parameters.Device.Record(CallSums);
    }

    /// <summary>Starts the sums of squares.</summary>
    public void Begin() => _work.Run();

    void CallSums()
    {
        for (int i = 0; i < _squares.Length; i++)
        {
            _parameters.Device.Ops.SumOfSquares(_parameters.All[i].Gradient, _results, i);
        }
    }

    /// <summary>The sum of squares of each tensor's gradient, in canonical order, after <see cref="Begin"/>; valid until the next call.</summary>
    public ReadOnlySpan<double> Read()
    {
        _parameters.Device.Download(_results.Address, MemoryMarshal.AsBytes(_squares.AsSpan()));
        return _squares;
    }

    /// <summary>The factor that brings a gradient of this norm down to the limit; 1 when it is below or the limit is 0.</summary>
    public static double ClipScale(double norm, double limit) => limit > 0 && norm > limit ? limit / norm : 1;

    /// <inheritdoc/>
    public void Dispose()
    {
        _work.Dispose();
        _parameters.Device.Free(_results.Address);
    }
}
