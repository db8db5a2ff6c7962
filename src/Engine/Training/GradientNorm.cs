// The global gradient norm, the same for any cut of the model: one sum of squares for each logical tensor, in double, and
// these added in canonical order over all stages.      norm = sqrt(sum_tensor sum_i g_i^2)      clip = min(1, limit/norm)
// Everything is worked out on the device, so the optimizer can be called behind it before the host has seen any of it.
using System.Runtime.InteropServices;
using OrionNative.Engine.Model;
using OrionNative.Kernels;

namespace OrionNative.Engine.Training;

/// <summary>Norm, clip and loss of a step of all stages that one device holds.</summary>
sealed class GradientNorm : IDisposable
{
    readonly IDevice _device;
    readonly Parameter[] _parameters;
    readonly Tensor _squares;
    readonly Tensor _totals;
    readonly IRecordedWork _work;

    /// <param name="stages">All stages, in their order.</param>
    /// <param name="losses">Float64: the sums of losses of the step's microbatches.</param>
    /// <param name="limit">Largest norm; 0 never clips.</param>
    public GradientNorm(IReadOnlyList<ParameterSet> stages, Tensor losses, double limit)
    {
        _device = stages[0].Device;
        _parameters = [.. stages.SelectMany(stage => stage.All)];
        _squares = new Tensor(_device.Allocate(sizeof(double) * (long)_parameters.Length, "gradient norms"), ElementType.Float64, 1, _parameters.Length);
        _totals = new Tensor(_device.Allocate(2 * sizeof(double), "norm and loss"), ElementType.Float64, 1, 2);
        Scale = new Tensor(_device.Allocate(sizeof(float), "the clip"), ElementType.Float32, 1, 1);
        _work = _device.Record(() => CallSums(losses, limit));
    }

    /// <summary>The factor on the gradient for the optimizers, in device memory, after <see cref="Begin"/>.</summary>
    public Tensor Scale { get; }

    /// <summary>Starts the sums and the clip.</summary>
    public void Begin() => _work.Run();

    void CallSums(Tensor losses, double limit)
    {
        for (int i = 0; i < _parameters.Length; i++)
        {
            _device.Ops.SumOfSquares(_parameters[i].Gradient, _squares, i);
        }

        _device.Ops.ClipScale(_squares, losses, limit, _totals, Scale);
    }

    /// <summary>Global norm before clipping and sum of losses of the last <see cref="Begin"/>. Waits for the device.</summary>
    public (double Norm, double LossSum) Read()
    {
        Span<double> totals = stackalloc double[2];
        _device.Download(_totals.Address, MemoryMarshal.AsBytes(totals));
        return (totals[0], totals[1]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _work.Dispose();
        _device.Free(_squares.Address);
        _device.Free(_totals.Address);
        _device.Free(Scale.Address);
    }
}
