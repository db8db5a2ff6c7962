// Codes on the CPU: rows are packed and unpacked one after the other; the wire has no gaps. Int8 rows: the scale first.
// Traffic in bytes an element, pack or unpack: Float32 8, BFloat16 6, Int8 5 (the row is read twice, from the cache).
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using OrionNative.Kernels.Numerics;

namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int CodeRows = 16;

    struct CodeCall
    {
        public Tensor Code;
        public byte* Wire;
    }

    public void CodePack(Tensor code, WireFormat format, nint destination)
    {
        Shape.IsType(code, ElementType.Float32);
        ArgumentOutOfRangeException.ThrowIfZero(destination);
        switch (format)
        {
            case WireFormat.Float32:
                Copy(code, new Tensor(destination, ElementType.Float32, code.Rows, code.Columns));
                break;
            case WireFormat.BFloat16:
                Copy(code, new Tensor(destination, ElementType.BFloat16, code.Rows, code.Columns));
                break;
            case WireFormat.Int8:
                CodeCall call = new() { Code = code, Wire = (byte*)destination };
                Run(DivideUp(code.Rows, CodeRows), &call, &CodeToInt8<Vec128>, &CodeToInt8<Vec256>, &CodeToInt8<Vec512>);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(format), format, "CodePack: expected Float32, BFloat16 or Int8");
        }
    }

    public void CodeUnpack(nint source, WireFormat format, Tensor code)
    {
        Shape.IsType(code, ElementType.Float32);
        ArgumentOutOfRangeException.ThrowIfZero(source);
        switch (format)
        {
            case WireFormat.Float32:
                Copy(new Tensor(source, ElementType.Float32, code.Rows, code.Columns), code);
                break;
            case WireFormat.BFloat16:
                Copy(new Tensor(source, ElementType.BFloat16, code.Rows, code.Columns), code);
                break;
            case WireFormat.Int8:
                CodeCall call = new() { Code = code, Wire = (byte*)source };
                Run(DivideUp(code.Rows, CodeRows), &call, &CodeFromInt8<Vec128>, &CodeFromInt8<Vec256>, &CodeFromInt8<Vec512>);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(format), format, "CodeUnpack: expected Float32, BFloat16 or Int8");
        }
    }

    /// <summary>The smallest bfloat16 at or above largest/127: no quotient leaves [-127, 127].</summary>
    internal static ushort CodeScale(float largest)
    {
        float exact = largest / 127f;
        ushort scale = (ushort)(BitConverter.SingleToUInt32Bits(exact) >> 16);
        return BFloat16.ToSingle(scale) < exact ? (ushort)(scale + 1) : scale;
    }

    static void CodeToInt8<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        CodeCall* call = (CodeCall*)state;
        int n = call->Code.Columns;
        int first = item * CodeRows;
        for (int row = first; row < Math.Min(first + CodeRows, call->Code.Rows); row++)
        {
            float* code = RowOf(call->Code, row);
            byte* wire = call->Wire + ((long)row * (n + 2));
            ushort scale = CodeScale(LargestOfRow<TVec>(code, n));
            wire[0] = (byte)scale;
            wire[1] = (byte)(scale >> 8);
            float step = BFloat16.ToSingle(scale);
            if (step == 0f)
            {
                new Span<byte>(wire + 2, n).Clear();
                continue;
            }

            QuotientsToInt8<TVec>(code, (sbyte*)wire + 2, n, step);
        }
    }

    static float LargestOfRow<TVec>(float* code, int n) where TVec : struct, IVec<TVec>
    {
        TVec even = TVec.All(0f), odd = TVec.All(0f);
        int i = 0;
        for (; i + (2 * TVec.Width) <= n; i += 2 * TVec.Width)
        {
            even = TVec.Max(even, TVec.Abs(TVec.Load(code + i)));
            odd = TVec.Max(odd, TVec.Abs(TVec.Load(code + i + TVec.Width)));
        }

        for (; i < n; i += TVec.Width)
        {
            even = TVec.Max(even, TVec.Abs(TVec.Load(code + i, n - i)));
        }

        return TVec.MaxOf(TVec.Max(even, odd));
    }

    // A quotient from the reciprocal, its remainder and one correction is the rounded quotient itself (Markstein, "Computation of
    // elementary functions on the IBM RISC System/6000 processor", 1990), if additions are fused and nothing that decides a
    // rounding to a whole number leaves the range of normal numbers. It takes a third of the time of divisions.
    static void QuotientsToInt8<TVec>(float* code, sbyte* to, int n, float step) where TVec : struct, IVec<TVec>
    {
        TVec divisor = TVec.All(step);
        if (!IsFused || step is < 1e-30f or > 1e30f)
        {
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.StoreInt8(TVec.Load(code + i, n - i) / divisor, to + i, n - i);
            }

            return;
        }

        TVec negative = TVec.All(-step), reciprocal = TVec.All(1f / step);
        for (int i = 0; i < n; i += TVec.Width)
        {
            TVec x = TVec.Load(code + i, n - i), quotient = x * reciprocal;
            TVec remainder = TVec.MultiplyAdd(quotient, negative, x);
            TVec.StoreInt8(TVec.MultiplyAdd(remainder, reciprocal, quotient), to + i, n - i);
        }
    }

    static bool IsFused => Fma.IsSupported || AdvSimd.IsSupported;

    static void CodeFromInt8<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        CodeCall* call = (CodeCall*)state;
        int n = call->Code.Columns;
        int first = item * CodeRows;
        for (int row = first; row < Math.Min(first + CodeRows, call->Code.Rows); row++)
        {
            float* code = RowOf(call->Code, row);
            byte* wire = call->Wire + ((long)row * (n + 2));
            float step = BFloat16.ToSingle((ushort)(wire[0] | (wire[1] << 8)));
            TVec factor = TVec.All(step);
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.LoadInt8((sbyte*)wire + 2 + i, n - i) * factor, code + i, n - i);
            }
        }
    }
}
