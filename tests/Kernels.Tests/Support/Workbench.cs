// A device with upload, download and guards. Every tensor of a workbench has a gap after each row when asked, and a guard
// behind its end, both filled with a mark that reads as NaN; when the workbench
// closes, a mark that changed fails the test.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Tests.Support;

sealed class Workbench : IDisposable
{
    const int GuardBytes = 256;
    const byte Mark = 0xFF;
    readonly List<(nint Address, Tensor View)> _memory = [];

    public Workbench(string device, int threads = 2, int seed = 1)
    {
        Device = Devices.Open(device, threads);
        Random = new Random(seed);
    }

    public IDevice Device { get; }

    public IOps Ops => Device.Ops;

    public Random Random { get; }

    /// <summary>Largest relative error of one rounding to the compute type: 2^-24 for single, 2^-9 for bfloat16.</summary>
    public double Unit => Device.ComputeType == ElementType.Float32 ? Math.ScaleB(1, -24) : Math.ScaleB(1, -9);

    /// <summary>Normally distributed numbers which the compute type holds exactly.</summary>
    public double[] Normal(int count, double scale = 1)
    {
        double[] values = new double[count];
        for (int i = 0; i < count; i++)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - Random.NextDouble()));
            float value = (float)(scale * radius * Math.Cos(2 * Math.PI * Random.NextDouble()));
            values[i] = Device.ComputeType == ElementType.Float32 ? value : BFloat16.ToSingle(BFloat16.FromSingle(value));
        }

        return values;
    }

    public int[] Ids(int count, int limit) => [.. Enumerable.Range(0, count).Select(_ => Random.Next(limit))];

    /// <summary>A tensor of the compute type with these values.</summary>
    public Tensor Compute(double[] values, int rows, int columns, int gap = 0) => Put(values, Device.ComputeType, rows, columns, gap);

    /// <summary>A Float32 tensor with these values.</summary>
    public Tensor Single(double[] values, int rows, int columns, int gap = 0) => Put(values, ElementType.Float32, rows, columns, gap);

    /// <summary>A tensor of the compute type which nobody has written: it reads as NaN.</summary>
    public Tensor Unwritten(int rows, int columns, int gap = 0) => Reserve(Device.ComputeType, rows, columns, gap);

    /// <summary>A Float32 tensor which nobody has written.</summary>
    public Tensor UnwrittenSingle(int rows, int columns, int gap = 0) => Reserve(ElementType.Float32, rows, columns, gap);

    public Tensor Int32(int[] values)
    {
        Tensor tensor = Reserve(ElementType.Int32, values.Length, 1, 0);
        Device.Upload(MemoryMarshal.AsBytes<int>(values), tensor.Address);
        return tensor;
    }

    /// <summary>The numbers of a step where the operation reads them.</summary>
    public nint Settings(AdamWStep step)
    {
        nint settings = Scratch(AdamWStep.SettingsBytes);
        Ops.SetAdamW(step, settings);
        return settings;
    }

    /// <inheritdoc cref="Settings(AdamWStep)"/>
    public nint Settings(MuonStep step)
    {
        nint settings = Scratch(MuonStep.SettingsBytes);
        Ops.SetMuon(step, settings);
        return settings;
    }

    /// <summary>A factor on the gradient where an optimizer reads it.</summary>
    public Tensor Factor(double value) => Single([value], 1, 1);

    public nint Scratch(long bytes) => Reserve(ElementType.Int8, 1, (int)Math.Max(bytes, 1), 0).Address;

    public Tensor Put(double[] values, ElementType type, int rows, int columns, int gap)
    {
        Assert.Equal(rows * columns, values.Length);
        Tensor tensor = Reserve(type, rows, columns, gap);
        byte[] row = new byte[columns * tensor.ElementBytes];
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
            {
                Encode(values[(i * columns) + j], type, row.AsSpan(j * tensor.ElementBytes));
            }

            Device.Upload(row, tensor.RowRange(i, 1).Address);
        }

        return tensor;
    }

    /// <summary>The values of a view, row after row.</summary>
    public double[] Get(Tensor tensor)
    {
        byte[] bytes = Bits(tensor);
        double[] values = new double[tensor.Count];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = Decode(bytes.AsSpan(i * tensor.ElementBytes), tensor.Type);
        }

        return values;
    }

    /// <summary>The bytes of a view, row after row.</summary>
    public byte[] Bits(Tensor tensor)
    {
        int rowBytes = tensor.Columns * tensor.ElementBytes;
        byte[] bytes = new byte[tensor.Rows * rowBytes];
        for (int i = 0; i < tensor.Rows; i++)
        {
            Device.Download(tensor.RowRange(i, 1).Address, bytes.AsSpan(i * rowBytes, rowBytes));
        }

        return bytes;
    }

    public byte[] Bytes(nint address, long count)
    {
        byte[] bytes = new byte[count];
        Device.Download(address, bytes);
        return bytes;
    }

    Tensor Reserve(ElementType type, int rows, int columns, int gap)
    {
        Tensor tensor = new(0, type, rows, columns, columns + gap);
        int bytes = rows * tensor.Stride * tensor.ElementBytes;
        byte[] marks = new byte[bytes + GuardBytes];
        marks.AsSpan().Fill(Mark);
        tensor = tensor with { Address = Device.Allocate(marks.Length, "a test") };
        Device.Upload(marks, tensor.Address);
        _memory.Add((tensor.Address, tensor));
        return tensor;
    }

    void CheckGuards(Tensor tensor)
    {
        int rowBytes = tensor.Columns * tensor.ElementBytes, strideBytes = tensor.Stride * tensor.ElementBytes;
        byte[] all = Bytes(tensor.Address, (tensor.Rows * strideBytes) + GuardBytes);
        for (int i = 0; i < all.Length; i++)
        {
            bool inside = i < tensor.Rows * strideBytes && i % strideBytes < rowBytes;
            if (!inside && all[i] != Mark)
            {
                Assert.Fail($"{tensor} was written beyond its columns or its end, at byte {i}");
            }
        }
    }

    static void Encode(double value, ElementType type, Span<byte> destination)
    {
        switch (type)
        {
            case ElementType.Float32:
                MemoryMarshal.Write(destination, (float)value);
                break;
            case ElementType.BFloat16:
                MemoryMarshal.Write(destination, BFloat16.FromSingle((float)value));
                break;
            case ElementType.Float64:
                MemoryMarshal.Write(destination, value);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "tests upload Float32, BFloat16 and Float64");
        }
    }

    static double Decode(ReadOnlySpan<byte> source, ElementType type) => type switch
    {
        ElementType.Float32 => MemoryMarshal.Read<float>(source),
        ElementType.BFloat16 => BFloat16.ToSingle(MemoryMarshal.Read<ushort>(source)),
        ElementType.Float64 => MemoryMarshal.Read<double>(source),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "tests download Float32, BFloat16 and Float64"),
    };

    public void Dispose()
    {
        Device.Synchronize();
        try
        {
            foreach ((_, Tensor view) in _memory)
            {
                CheckGuards(view);
            }
        }
        finally
        {
            foreach ((nint address, _) in _memory)
            {
                Device.Free(address);
            }

            Device.Dispose();
        }
    }
}
