// The gradient of one stage in one step: this peer's own sum, and beside it the sum over the stage's replicas.
//   reduced = share_0 + share_1 + ...   in the order in which the commit lists the shares, never in that of their arrival
// The own sum stays untouched until the step is applied, so a reduction can be abandoned and done again.
using System.Runtime.InteropServices;
using OrionNative.Engine.Model;
using OrionNative.Kernels;

namespace OrionNative.Engine.Pipeline;

/// <summary>Own and reduced gradient of a stage, Float32, in the layout of its parameters.</summary>
sealed unsafe class GradientSum : IDisposable
{
    const long PieceBytes = 8 << 20;

    readonly ParameterSet _parameters;
    readonly IDevice _device;
    readonly nint _first;
    readonly nint _reduced;
    readonly Tensor _squares;
    readonly double[] _hostSquares;
    bool _isEmpty;

    public GradientSum(ParameterSet parameters)
    {
        (_parameters, _device) = (parameters, parameters.Device);
        _first = parameters.All.Min(parameter => parameter.Gradient.Address);
        Bytes = parameters.All.Max(parameter => parameter.Gradient.Address + (nint)parameter.Gradient.Bytes) - _first;
        _reduced = _device.Allocate(Bytes, $"reduced gradients of {parameters.Range}");
        _hostSquares = new double[parameters.All.Count];
        _squares = new Tensor(_device.Allocate(8L * _hostSquares.Length, "gradient norms"), ElementType.Float64, 1, _hostSquares.Length);
    }

    /// <summary>Bytes of a share on the wire.</summary>
    public long Bytes { get; }

    /// <summary>Copies a piece of this peer's own sum out.</summary>
    public void ReadOwn(long offset, Span<byte> piece) => _device.Download(_first + (nint)offset, piece);

    /// <summary>Starts a reduction from nothing.</summary>
    public void BeginReduced()
    {
        _isEmpty = true;
        _device.Ops.Zero(Whole(_reduced));
    }

    /// <summary>Adds this peer's own sum.</summary>
    public void AddOwn()
    {
        Add(_first, 0, Bytes);
        _isEmpty = false;
    }

    /// <summary>Adds the share of another replica, given in this process's memory, which is free when this returns.</summary>
    public void Add(byte* share)
    {
        ITransfers transfers = _device.Transfers;
        for (long offset = 0; offset < Bytes; offset += PieceBytes)
        {
            long bytes = Math.Min(PieceBytes, Bytes - offset);
            Add(transfers.Arrive((nint)(share + offset), bytes), offset, bytes);
        }

        transfers.Wait(transfers.Mark());
        _isEmpty = false;
    }

    // the first share is copied: with one replica the reduced bits are the own ones, signs of zeros included
    void Add(nint piece, long offset, long bytes)
    {
        Tensor source = Floats(piece, bytes), destination = Floats(_reduced + (nint)offset, bytes);
        if (_isEmpty)
        {
            _device.Ops.Copy(source, destination);
        }
        else
        {
            _device.Ops.Add(source, destination);
        }
    }

    /// <summary>Sum of squares of each tensor of the reduced gradient, in canonical order.</summary>
    public double[] ReducedSquares()
    {
        for (int i = 0; i < _hostSquares.Length; i++)
        {
            Tensor own = _parameters.All[i].Gradient;
            _device.Ops.SumOfSquares(own with { Address = _reduced + (own.Address - _first) }, _squares, i);
        }

        _device.Download(_squares.Address, MemoryMarshal.AsBytes(_hostSquares.AsSpan()));
        return _hostSquares;
    }

    /// <summary>The reduced gradient takes the own one's place, where the optimizer reads it.</summary>
    public void TakeReduced() => _device.Ops.Copy(Whole(_reduced), Whole(_first));

    /// <summary>The own sum starts again at zero.</summary>
    public void Clear() => _parameters.ZeroGradients();

    Tensor Whole(nint address) => Floats(address, Bytes);

    static Tensor Floats(nint address, long bytes) => new(address, ElementType.Float32, 1, checked((int)(bytes / sizeof(float))));

    /// <inheritdoc/>
    public void Dispose()
    {
        _device.Free(_reduced);
        _device.Free(_squares.Address);
    }
}
