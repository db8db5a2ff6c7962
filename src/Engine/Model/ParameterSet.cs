// The weights of a stage in a device's memory, and the way in and out in single precision.
// A master weight is the device's value itself in Float32, or the two halves (BFloat16, Low16) put together: never rounded.
using System.Buffers;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using OrionNative.Engine.Run;
using OrionNative.Kernels;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Engine.Model;

/// <summary>The parameters of one stage on one device, with or without gradients.</summary>
sealed class ParameterSet : IDisposable
{
    const int ChunkElements = 1 << 16;

    readonly nint _values;
    readonly nint _gradients;

    /// <summary>Plans and allocates; the weights are zero until <see cref="Initialize"/> or <see cref="Write"/>.</summary>
    public ParameterSet(ModelConfig model, StageRange range, IDevice device, bool gradients)
    {
        (Model, Range, Device) = (model, range, device);
        (long valueBytes, long gradientBytes) = Measure(model, range, device.ComputeType);
        _values = device.Allocate(valueBytes, $"weights of {range}");
        try
        {
            _gradients = gradients ? device.Allocate(gradientBytes, $"gradients of {range}") : 0;
        }
        catch
        {
            device.Free(_values);
            throw;
        }

        Layout = new ParameterLayout(model, range, device.ComputeType, new Arena(_values), gradients ? new Arena(_gradients) : null);
    }

    /// <summary>The model this is a part of.</summary>
    public ModelConfig Model { get; }

    /// <summary>The part.</summary>
    public StageRange Range { get; }

    /// <summary>Where the tensors lie.</summary>
    public IDevice Device { get; }

    /// <summary>The tensors as the passes use them.</summary>
    public ParameterLayout Layout { get; }

    /// <summary>Logical tensors in canonical order.</summary>
    public IReadOnlyList<Parameter> All => Layout.All;

    /// <summary>Bytes of the weights and of their gradients.</summary>
    public static (long Values, long Gradients) Measure(ModelConfig model, StageRange range, ElementType type)
    {
        Arena values = new(0), gradients = new(0);
        _ = new ParameterLayout(model, range, type, values, gradients);
        return (values.Bytes, gradients.Bytes);
    }

    /// <summary>Fills every tensor with its initial values: ones for norms, else N(0, deviation) by (seed, name, index).</summary>
    public void Initialize(long seed)
    {
        foreach (Parameter parameter in All)
        {
            float[] chunk = ArrayPool<float>.Shared.Rent((int)Math.Min(parameter.Count, ChunkElements));
            CounterNormal normal = new(seed, parameter.Name);
            for (long start = 0; start < parameter.Count; start += ChunkElements)
            {
                int count = (int)Math.Min(ChunkElements, parameter.Count - start);
                FillInitial(chunk, count, start, normal, parameter.InitialDeviation);
                Write(parameter, start, chunk.AsSpan(0, count));
            }

            ArrayPool<float>.Shared.Return(chunk);
        }
    }

    static void FillInitial(float[] chunk, int count, long start, CounterNormal normal, double deviation)
    {
        if (deviation == 0)
        {
            chunk.AsSpan(0, count).Fill(1);
            return;
        }

        const int Piece = 4096;
        Parallel.For(0, (count + Piece - 1) / Piece, piece =>
        {
            for (int i = piece * Piece; i < Math.Min(count, (piece + 1) * Piece); i++)
            {
                chunk[i] = (float)(deviation * normal.At(start + i));
            }
        });
    }

    /// <summary>Sets master values from element <paramref name="start"/> on.</summary>
    public void Write(Parameter parameter, long start, ReadOnlySpan<float> values)
    {
        CheckRange(parameter, start, values.Length);
        if (parameter.Value.Type == ElementType.Float32)
        {
            Device.Upload(MemoryMarshal.AsBytes(values), parameter.Value.Address + (nint)(4 * start));
            return;
        }

        ushort[] high = ArrayPool<ushort>.Shared.Rent(values.Length), low = ArrayPool<ushort>.Shared.Rent(values.Length);
        for (int i = 0; i < values.Length; i++)
        {
            (high[i], low[i]) = BFloat16.Split(values[i]);
        }

        Device.Upload(MemoryMarshal.AsBytes(high.AsSpan(0, values.Length)), parameter.Value.Address + (nint)(2 * start));
        Device.Upload(MemoryMarshal.AsBytes(low.AsSpan(0, values.Length)), parameter.Low.Address + (nint)(2 * start));
        ArrayPool<ushort>.Shared.Return(high);
        ArrayPool<ushort>.Shared.Return(low);
    }

    /// <summary>Reads master values from element <paramref name="start"/> on.</summary>
    public void Read(Parameter parameter, long start, Span<float> values)
    {
        CheckRange(parameter, start, values.Length);
        if (parameter.Value.Type == ElementType.Float32)
        {
            Device.Download(parameter.Value.Address + (nint)(4 * start), MemoryMarshal.AsBytes(values));
            return;
        }

        ushort[] high = ArrayPool<ushort>.Shared.Rent(values.Length), low = ArrayPool<ushort>.Shared.Rent(values.Length);
        Device.Download(parameter.Value.Address + (nint)(2 * start), MemoryMarshal.AsBytes(high.AsSpan(0, values.Length)));
        Device.Download(parameter.Low.Address + (nint)(2 * start), MemoryMarshal.AsBytes(low.AsSpan(0, values.Length)));
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = BFloat16.Join(high[i], low[i]);
        }

        ArrayPool<ushort>.Shared.Return(high);
        ArrayPool<ushort>.Shared.Return(low);
    }

    /// <summary>Adds every master weight, in canonical order, to a hash: equal hashes mean equal bits.</summary>
    public void AppendTo(IncrementalHash hash)
    {
        float[] chunk = ArrayPool<float>.Shared.Rent(ChunkElements);
        foreach (Parameter parameter in All)
        {
            for (long start = 0; start < parameter.Count; start += ChunkElements)
            {
                Span<float> values = chunk.AsSpan(0, (int)Math.Min(ChunkElements, parameter.Count - start));
                Read(parameter, start, values);
                hash.AppendData(MemoryMarshal.AsBytes(values));
            }
        }

        ArrayPool<float>.Shared.Return(chunk);
    }

    /// <summary>Zeroes all gradients.</summary>
    public void ZeroGradients()
    {
        IReadOnlyList<Weight> storage = Layout.Storage;
        for (int i = 0; i < storage.Count; i++)
        {
            Device.Ops.Zero(storage[i].Gradient);
        }
    }

    static void CheckRange(Parameter parameter, long start, int count)
    {
        if (start < 0 || start + count > parameter.Count)
        {
            throw new ArgumentOutOfRangeException(nameof(start), $"elements {start} to {start + count} of {parameter.Name}, which has {parameter.Count}");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Device.Free(_values);
        if (_gradients != 0)
        {
            Device.Free(_gradients);
        }
    }
}
