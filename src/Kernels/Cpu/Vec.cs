// One kernel body, three vector widths. A kernel is generic over TVec and runs on Vec512, Vec256 or Vec128; the JIT makes
// a separate body of each in which these wrappers are gone. Every loop has the same form, with no second loop for the tail:
//   for (int i = 0; i < n; i += TVec.Width) { TVec x = TVec.Load(p + i, n - i); ...; TVec.Store(y, q + i, n - i); }
// Lanes past the end of a row read as zero and are never written.
using System.Numerics;
using System.Runtime.Intrinsics;

namespace OrionNative.Kernels.Cpu;

/// <summary>A vector of single-precision numbers.</summary>
unsafe interface IVec<TSelf> :
    IAdditionOperators<TSelf, TSelf, TSelf>, ISubtractionOperators<TSelf, TSelf, TSelf>,
    IMultiplyOperators<TSelf, TSelf, TSelf>, IDivisionOperators<TSelf, TSelf, TSelf>
    where TSelf : struct, IVec<TSelf>
{
    /// <summary>Number of lanes.</summary>
    static abstract int Width { get; }

    /// <summary>The value in every lane.</summary>
    static abstract TSelf All(float value);

    static abstract TSelf Load(float* source);

    static abstract void Store(TSelf value, float* destination);

    /// <summary>The first min(count, Width) lanes from memory, the others zero; count is at least 1.</summary>
    static abstract TSelf Load(float* source, int count);

    /// <summary>Writes the first min(count, Width) lanes; count is at least 1.</summary>
    static abstract void Store(TSelf value, float* destination, int count);

    /// <summary>Like <see cref="Load(float*, int)"/>, from the upper halves of singles.</summary>
    static abstract TSelf LoadBFloat16(ushort* source, int count);

    /// <summary>Rounds to nearest even; a NaN stays a NaN.</summary>
    static abstract void StoreBFloat16(TSelf value, ushort* destination, int count);

    /// <summary>Like <see cref="Load(float*, int)"/>, from signed bytes.</summary>
    static abstract TSelf LoadInt8(sbyte* source, int count);

    /// <summary>Rounds to nearest even; the values lie in [-127, 127], a NaN becomes 0.</summary>
    static abstract void StoreInt8(TSelf value, sbyte* destination, int count);

    /// <summary>a*b + c, fused where the processor can.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>The larger one; <paramref name="b"/> where either is NaN.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>The smaller one; <paramref name="b"/> where either is NaN.</summary>
    static abstract TSelf Min(TSelf a, TSelf b);

    static abstract TSelf Sqrt(TSelf x);

    static abstract TSelf Abs(TSelf x);

    /// <summary><paramref name="value"/> where <paramref name="condition"/> > 0, else 0.</summary>
    static abstract TSelf WherePositive(TSelf condition, TSelf value);

    /// <summary><paramref name="value"/> in the first count lanes, <paramref name="other"/> after them.</summary>
    static abstract TSelf First(TSelf value, TSelf other, int count);

    /// <summary>x * 2^n for integral n in [-160, 160], rounded once where the processor can; n as a float.</summary>
    static abstract TSelf TimesPowerOfTwo(TSelf x, TSelf n);

    /// <summary>Sum of the lanes, in a fixed order.</summary>
    static abstract float Sum(TSelf x);

    /// <summary>The largest lane.</summary>
    static abstract float MaxOf(TSelf x);

    /// <summary>Sum in double of n elements or of their squares, in an order that depends on n alone.</summary>
    static abstract double SumOf(float* x, int n, bool squares);
}

// the last, incomplete vector of a row of narrow elements: once a row, so plain loops
static unsafe class Tail
{
    /// <summary>1.5 * 2^23: after adding it, the low bits of the sum are the nearest integer in two's complement.</summary>
    public const float RoundToInteger = 12582912f;

    public static Vector128<T> Load<T>(T* source, int count) where T : unmanaged
    {
        Vector128<T> lanes = default;
        for (int i = 0; i < count; i++)
        {
            lanes = lanes.WithElement(i, source[i]);
        }

        return lanes;
    }

    public static void Store<T>(Vector128<T> lanes, T* destination, int count) where T : unmanaged
    {
        for (int i = 0; i < count; i++)
        {
            destination[i] = lanes[i];
        }
    }
}
