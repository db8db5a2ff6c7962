// Cases of elementwise.cu: odd strides and offsets, rows of 1, tails of every kind, and no byte between rows touched.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Cuda;

static partial class KernelCases
{
    static Dictionary<string, Action<KernelCase>> ElementwiseCases => new()
    {
        ["fill_bf16"] = c => Elementwise(c, "fill_bf16", source: null, "bf16", (_, _) => -1.5, bytes: 2, relative: 0),
        ["fill_fp32"] = c => Elementwise(c, "fill_fp32", source: null, "fp32", (_, _) => -1.5, bytes: 4, relative: 0),
        ["copy_8bit"] = c => CopyBits(c, n => Array.ConvertAll(Random(1, n), bits => (byte)bits)),
        ["copy_16bit"] = c => CopyBits(c, n => Random(1, n)),
        ["copy_32bit"] = c => CopyBits(c, n => RandomFloats(1, n)),
        ["copy_bf16_to_fp32"] = c => Elementwise(c, "copy_bf16_to_fp32", "bf16", "fp32", (x, _) => x, bytes: 6, relative: 0),
        ["copy_fp32_to_bf16"] = c => Elementwise(c, "copy_fp32_to_bf16", "fp32", "bf16", (x, _) => BFloat16.ToSingle(Oracle.NearestBFloat16((float)x)), bytes: 6, relative: 0),
        ["add_bf16"] = c => Elementwise(c, "add_bf16", "bf16", "bf16", (x, y) => x + y, bytes: 6, Rounding + Single),
        ["add_fp32"] = c => Elementwise(c, "add_fp32", "fp32", "fp32", (x, y) => x + y, bytes: 12, Single),
        ["add_bf16_to_fp32"] = c => Elementwise(c, "add_bf16_to_fp32", "bf16", "fp32", (x, y) => x + y, bytes: 10, Single),
        ["add_fp32_to_bf16"] = c => Elementwise(c, "add_fp32_to_bf16", "fp32", "bf16", (x, y) => x + y, bytes: 8, Rounding + Single),
        ["scale_bf16"] = c => Elementwise(c, "scale_bf16", source: null, "bf16", (_, y) => -1.5 * y, bytes: 4, Rounding + Single),
        ["scale_fp32"] = c => Elementwise(c, "scale_fp32", source: null, "fp32", (_, y) => -1.5 * y, bytes: 8, Single),
    };

    /// <summary>A view of bf16 or fp32 numbers.</summary>
    sealed record Operand(ulong Address, int Stride, Lazy<double[]> Before, Func<double[]> Read, KernelResult Untouched)
    {
        public double[] Values => Before.Value;
    }

    // `rectified`: half of the values are exactly zero, as ReLU leaves them.
    static Operand RandomView(KernelCase c, string type, int seed, int rows, int columns, int stride, int offset, bool rectified = false)
    {
        if (type == "bf16")
        {
            ushort[] bits = Array.ConvertAll(Random(seed, rows * columns), b => rectified && b > 0x7fff ? (ushort)0 : b);
            CaseView<ushort> narrow = c.View(bits, columns, stride, offset);
            return new(narrow.Address, stride, new(() => Widen(bits)), () => Widen(narrow.Read()), narrow.Untouched($"operand {seed}"));
        }

        float[] values = RandomFloats(seed, rows * columns);
        CaseView<float> wide = c.View(values, columns, stride, offset);
        return new(wide.Address, stride, new(() => Widen(values)), () => Widen(wide.Read()), wide.Untouched($"operand {seed}"));
    }

    /// <summary>Two views: rows, columns, stride and offset of the source, stride and offset of the destination, in elements.</summary>
    static (int Rows, int Columns, int SourceStride, int SourceOffset, int Stride, int Offset) PickViews(KernelCase c)
    {
        int large = 131072 * c.Size;   // bytes of fill_bf16 at 1024: five times the largest L2
        (int Rows, int Columns, int SourceStride, int SourceOffset, int Stride, int Offset) v = c.Pick(
            (1, large, large, 0, large, 0), (1, 1, 1, 1, 1, 3), (3, 8, 8, 0, 16, 8), (5, 13, 17, 3, 13, 1), (2, 264, 264, 0, 300, 4), (1, 2051, 2051, 0, 2051, 0));
        c.Shape = $"[{v.Rows}, {v.Columns}] strides {v.SourceStride}, {v.Stride} offsets {v.SourceOffset}, {v.Offset}";
        return v;
    }

    static void Elementwise(KernelCase c, string name, string? source, string destination, Func<double, double, double> expected, int bytes, double relative)
    {
        var v = PickViews(c);
        Operand to = RandomView(c, destination, 2, v.Rows, v.Columns, v.Stride, v.Offset);
        CudaKernel kernel = c.Kernel("elementwise.cu", name);
        c.Bytes = (long)bytes * v.Rows * v.Columns;
        c.Flops = name.StartsWith("add", StringComparison.Ordinal) || name.StartsWith("scale", StringComparison.Ordinal) ? (double)v.Rows * v.Columns : 0;
        if (source is null)
        {
            c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(v.Rows, v.Columns), 256, 0, to.Address, to.Stride, v.Rows, v.Columns, -1.5f));
            c.Results = () => [new("x", to.Read, [.. to.Values.Select(y => expected(0, y))], relative, 0), to.Untouched];
            return;
        }

        Operand from = RandomView(c, source, 1, v.Rows, v.Columns, v.SourceStride, v.SourceOffset);
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(v.Rows, v.Columns), 256, 0, from.Address, from.Stride, to.Address, to.Stride, v.Rows, v.Columns));
        c.Results = () => [new("destination", to.Read, [.. from.Values.Zip(to.Values, expected)], relative, 0), to.Untouched];
    }

    static void CopyBits<T>(KernelCase c, Func<int, T[]> random)
        where T : unmanaged
    {
        var v = PickViews(c);
        T[] values = random(v.Rows * v.Columns);
        CaseView<T> from = c.View(values, v.Columns, v.SourceStride, v.SourceOffset), to = c.View(new T[values.Length], v.Columns, v.Stride, v.Offset);
        CudaKernel kernel = c.Kernel("elementwise.cu", $"copy_{8 * Marshal.SizeOf<T>()}bit");
        c.LaunchWith(() => kernel.Launch(c.Stream, Blocks(v.Rows, v.Columns), 256, 0, from.Address, from.Stride, to.Address, to.Stride, v.Rows, v.Columns));
        c.Bytes = 2L * values.Length * Marshal.SizeOf<T>();
        c.Results = () => [new("destination", () => Bytes(to.Read()), Bytes(values)), to.Untouched("destination")];
    }

    static double[] Bytes<T>(T[] values)
        where T : unmanaged => Array.ConvertAll(MemoryMarshal.AsBytes(values.AsSpan()).ToArray(), b => (double)b);
}
