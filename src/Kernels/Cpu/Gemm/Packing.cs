// Packing: an operand's block is rewritten as panels that the microkernel reads in one straight line.
//   panel[k*width + i] = source element (i, k)        i: row of op(a) or column of op(b), within the panel
// Where k is the contiguous direction of the source, 4x4 blocks are transposed in registers, 64 k at a time
// (what is written stays in the first-level cache). Lanes past the operand's edge are filled with copies or left as they are: what they produce is never stored.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace OrionNative.Kernels.Cpu.Gemm;

static unsafe class Packing
{
    /// <summary>Singles that a panel may write past its end.</summary>
    public const int Overrun = 4;

    const int Steps = 64;

    /// <summary>Element (i, k) lies at source[i*stride + k]: transposes. <paramref name="count"/> of the panel's lanes exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void FromRows(float* source, nint stride, int count, int k, float* panel, nint width)
    {
        for (int start = 0; start < k; start += Steps, panel += Steps * width)
        {
            int steps = Math.Min(Steps, k - start);
            // from the last lanes to the first: four lanes are stored at once, and what the last four spill into the next
            // step of k is then overwritten by its first lanes
            for (nint lane = (width - 1) / 4 * 4; lane >= 0; lane -= 4)
            {
                float* row0 = source + start + (Math.Min(lane, count - 1) * stride), row1 = source + start + (Math.Min(lane + 1, count - 1) * stride);
                float* row2 = source + start + (Math.Min(lane + 2, count - 1) * stride), row3 = source + start + (Math.Min(lane + 3, count - 1) * stride);
                float* to = panel + lane;
                nint step = 0;
                for (; step + 4 <= steps; step += 4, to += 4 * width)
                {
                    Vector128<float> x0 = Vector128.Load(row0 + step), x1 = Vector128.Load(row1 + step);
                    Vector128<float> x2 = Vector128.Load(row2 + step), x3 = Vector128.Load(row3 + step);
                    Vector128<float> low02 = InterleaveLow(x0, x2), low13 = InterleaveLow(x1, x3);
                    Vector128<float> high02 = InterleaveHigh(x0, x2), high13 = InterleaveHigh(x1, x3);
                    InterleaveLow(low02, low13).Store(to);
                    InterleaveHigh(low02, low13).Store(to + width);
                    InterleaveLow(high02, high13).Store(to + (2 * width));
                    InterleaveHigh(high02, high13).Store(to + (3 * width));
                }

                for (; step < steps; step++, to += width)
                {
                    Vector128.Create(row0[step], row1[step], row2[step], row3[step]).Store(to);
                }
            }
        }
    }

    /// <summary>Element (i, k) lies at source[k*stride + i]: copies. Fills <paramref name="panels"/> panels that lie
    /// <paramref name="panelStride"/> apart from <paramref name="count"/> existing lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void FromColumns(float* source, nint stride, int count, int k, float* panels, int width, nint panelStride)
    {
        for (int step = 0; step < k; step++, source += stride, panels += width)
        {
            float* to = panels;
            int lane = 0;
            for (; lane + width <= count; lane += width, to += panelStride)
            {
                // eight at a time, then four; the last four may overlap the four before: no width needs a scalar rest
                nint i = 0;
                for (; i + 8 <= width; i += 8)
                {
                    Vector256.Load(source + lane + i).Store(to + i);
                }

                for (; i < width - 4; i += 4)
                {
                    Vector128.Load(source + lane + i).Store(to + i);
                }

                if (i < width)
                {
                    Vector128.Load(source + lane + width - 4).Store(to + width - 4);
                }
            }

            for (int i = 0; lane + i < count; i++)
            {
                to[i] = source[lane + i];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> InterleaveLow(Vector128<float> x, Vector128<float> y) =>
        Sse.IsSupported ? Sse.UnpackLow(x, y)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(x, y)
        : Vector128.Create(x[0], y[0], x[1], y[1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> InterleaveHigh(Vector128<float> x, Vector128<float> y) =>
        Sse.IsSupported ? Sse.UnpackHigh(x, y)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(x, y)
        : Vector128.Create(x[2], y[2], x[3], y[3]);
}
