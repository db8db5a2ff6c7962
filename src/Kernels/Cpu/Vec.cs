// One kernel body, three vector widths. A kernel is generic over TVec and runs on Vec512, Vec256 or Vec128; the JIT makes
// a separate body of each in which these wrappers are gone. Every loop has the same form, with no second loop for the tail:
//   for (int i = 0; i < n; i += TVec.Width) { TVec x = TVec.Load(p + i, n - i); ...; TVec.Store(y, q + i, n - i); }
// Lanes past the end of a row read as zero and are never written.
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

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

    /// <summary>sums += the lanes, or their squares, as doubles; sums has Width lanes.</summary>
    static abstract void AddTo(TSelf x, bool squares, double* sums);
}

readonly unsafe struct Vec512(Vector512<float> v) : IVec<Vec512>
{
    readonly Vector512<float> _v = v;

    public static int Width => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 All(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vec512 value, float* destination) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 Load(float* source, int count) =>
        new(count >= 16 ? Vector512.Load(source) : Avx512F.MaskLoad(source, Mask(count), Vector512<float>.Zero));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vec512 value, float* destination, int count)
    {
        if (count >= 16)
        {
            value._v.Store(destination);
        }
        else
        {
            Avx512F.MaskStore(destination, Mask(count), value._v);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 LoadBFloat16(ushort* source, int count)
    {
        Vector256<ushort> half = count >= 16
            ? Vector256.Load(source)
            : Avx512BW.VL.MaskLoad(source, Mask16(count), Vector256<ushort>.Zero);
        return new((Avx512F.ConvertToVector512UInt32(half) << 16).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vec512 value, ushort* destination, int count)
    {
        Vector512<uint> bits = value._v.AsUInt32();
        Vector512<uint> rounded = bits + Vector512.Create(0x7FFFu) + ((bits >>> 16) & Vector512<uint>.One);
        rounded = Vector512.ConditionalSelect(Vector512.Equals(value._v, value._v).AsUInt32(), rounded, bits | Vector512.Create(0x400000u));
        Vector256<ushort> half = Avx512F.ConvertToVector256UInt16(rounded >>> 16);
        if (count >= 16)
        {
            half.Store(destination);
        }
        else
        {
            Avx512BW.VL.MaskStore(destination, Mask16(count), half);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 LoadInt8(sbyte* source, int count)
    {
        Vector128<sbyte> bytes = count >= 16 ? Vector128.Load(source) : Tail.Load(source, count);
        return new(Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(bytes)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInt8(Vec512 value, sbyte* destination, int count)
    {
        Vector128<sbyte> bytes = Avx512F.ConvertToVector128SByte((value._v + Vector512.Create(Tail.RoundToInteger)).AsInt32());
        if (count >= 16)
        {
            bytes.Store(destination);
        }
        else
        {
            Tail.Store(bytes, destination, count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 operator +(Vec512 a, Vec512 b) => new(a._v + b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 operator -(Vec512 a, Vec512 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 operator *(Vec512 a, Vec512 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 operator /(Vec512 a, Vec512 b) => new(a._v / b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 MultiplyAdd(Vec512 a, Vec512 b, Vec512 c) => new(Vector512.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 Max(Vec512 a, Vec512 b) => new(Avx512F.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 Min(Vec512 a, Vec512 b) => new(Avx512F.Min(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 Sqrt(Vec512 x) => new(Vector512.Sqrt(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 Abs(Vec512 x) => new(Vector512.Abs(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 WherePositive(Vec512 condition, Vec512 value) =>
        new(Vector512.GreaterThan(condition._v, Vector512<float>.Zero) & value._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 First(Vec512 value, Vec512 other, int count) =>
        count >= 16 ? value : new(Vector512.ConditionalSelect(Mask(count), value._v, other._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec512 TimesPowerOfTwo(Vec512 x, Vec512 n) => new(Avx512F.Scale(x._v, n._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vec512 x) => Vec256.Sum(new(x._v.GetLower() + x._v.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxOf(Vec512 x) => Vec256.MaxOf(new(Vector256.MaxNative(x._v.GetLower(), x._v.GetUpper())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddTo(Vec512 x, bool squares, double* sums)
    {
        (Vector512<double> low, Vector512<double> high) = Vector512.Widen(x._v);
        (Vector512.Load(sums) + (squares ? low * low : low)).Store(sums);
        (Vector512.Load(sums + 8) + (squares ? high * high : high)).Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Mask(int count) => Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<ushort> Mask16(int count) => Vector256.LessThan(Vector256<ushort>.Indices, Vector256.Create((ushort)count));
}

readonly unsafe struct Vec256(Vector256<float> v) : IVec<Vec256>
{
    readonly Vector256<float> _v = v;

    public static int Width => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 All(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 Load(float* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vec256 value, float* destination) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 Load(float* source, int count) =>
        new(count >= 8 ? Vector256.Load(source) : Avx.MaskLoad(source, Mask(count)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vec256 value, float* destination, int count)
    {
        if (count >= 8)
        {
            value._v.Store(destination);
        }
        else
        {
            Avx.MaskStore(destination, Mask(count), value._v);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 LoadBFloat16(ushort* source, int count)
    {
        Vector128<ushort> half = count >= 8 ? Vector128.Load(source) : Tail.Load(source, count);
        return new((Avx2.ConvertToVector256Int32(half).AsUInt32() << 16).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vec256 value, ushort* destination, int count)
    {
        Vector256<uint> bits = value._v.AsUInt32();
        Vector256<uint> rounded = bits + Vector256.Create(0x7FFFu) + ((bits >>> 16) & Vector256<uint>.One);
        rounded = Vector256.ConditionalSelect(Vector256.Equals(value._v, value._v).AsUInt32(), rounded, bits | Vector256.Create(0x400000u)) >>> 16;
        Vector128<ushort> half = Vector128.Narrow(rounded.GetLower(), rounded.GetUpper());
        if (count >= 8)
        {
            half.Store(destination);
        }
        else
        {
            Tail.Store(half, destination, count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 LoadInt8(sbyte* source, int count)
    {
        Vector128<sbyte> bytes = count >= 8 ? Vector64.Load(source).ToVector128() : Tail.Load(source, count);
        return new(Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(bytes)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInt8(Vec256 value, sbyte* destination, int count)
    {
        Vector256<int> whole = (value._v + Vector256.Create(Tail.RoundToInteger)).AsInt32();
        Vector128<short> words = Vector128.Narrow(whole.GetLower(), whole.GetUpper());
        Vector128<sbyte> bytes = Vector128.Narrow(words, words);
        if (count >= 8)
        {
            bytes.GetLower().Store(destination);
        }
        else
        {
            Tail.Store(bytes, destination, count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 operator +(Vec256 a, Vec256 b) => new(a._v + b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 operator -(Vec256 a, Vec256 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 operator *(Vec256 a, Vec256 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 operator /(Vec256 a, Vec256 b) => new(a._v / b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 MultiplyAdd(Vec256 a, Vec256 b, Vec256 c) => new(Vector256.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 Max(Vec256 a, Vec256 b) => new(Avx.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 Min(Vec256 a, Vec256 b) => new(Avx.Min(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 Sqrt(Vec256 x) => new(Vector256.Sqrt(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 Abs(Vec256 x) => new(Vector256.Abs(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 WherePositive(Vec256 condition, Vec256 value) =>
        new(Vector256.GreaterThan(condition._v, Vector256<float>.Zero) & value._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 First(Vec256 value, Vec256 other, int count) =>
        count >= 8 ? value : new(Vector256.ConditionalSelect(Mask(count), value._v, other._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec256 TimesPowerOfTwo(Vec256 x, Vec256 n)
    {
        Vector256<int> whole = Vector256.ConvertToInt32Native(n._v);
        Vector256<int> half = whole >> 1;
        Vector256<int> bias = Vector256.Create(127);
        return new(x._v * ((half + bias) << 23).AsSingle() * ((whole - half + bias) << 23).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vec256 x) => Vec128.Sum(new(x._v.GetLower() + x._v.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxOf(Vec256 x) => Vec128.MaxOf(new(Vector128.MaxNative(x._v.GetLower(), x._v.GetUpper())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddTo(Vec256 x, bool squares, double* sums)
    {
        (Vector256<double> low, Vector256<double> high) = Vector256.Widen(x._v);
        (Vector256.Load(sums) + (squares ? low * low : low)).Store(sums);
        (Vector256.Load(sums + 4) + (squares ? high * high : high)).Store(sums + 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Mask(int count) => Vector256.LessThan(Vector256<int>.Indices, Vector256.Create(count)).AsSingle();
}

readonly unsafe struct Vec128(Vector128<float> v) : IVec<Vec128>
{
    readonly Vector128<float> _v = v;

    public static int Width => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 All(float value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 Load(float* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vec128 value, float* destination) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 Load(float* source, int count) => new(count >= 4
        ? Vector128.Load(source)
        : Vector128.Create(source[0], count > 1 ? source[1] : 0, count > 2 ? source[2] : 0, 0));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vec128 value, float* destination, int count)
    {
        if (count >= 4)
        {
            value._v.Store(destination);
            return;
        }

        for (int i = 0; i < count; i++)
        {
            destination[i] = value._v[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 LoadBFloat16(ushort* source, int count)
    {
        Vector128<ushort> half = count >= 4 ? Vector64.Load(source).ToVector128() : Tail.Load(source, count);
        return new((Vector128.WidenLower(half) << 16).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBFloat16(Vec128 value, ushort* destination, int count)
    {
        Vector128<uint> bits = value._v.AsUInt32();
        Vector128<uint> rounded = bits + Vector128.Create(0x7FFFu) + ((bits >>> 16) & Vector128<uint>.One);
        rounded = Vector128.ConditionalSelect(Vector128.Equals(value._v, value._v).AsUInt32(), rounded, bits | Vector128.Create(0x400000u)) >>> 16;
        Vector128<ushort> half = Vector128.Narrow(rounded, rounded);
        if (count >= 4)
        {
            half.GetLower().Store(destination);
        }
        else
        {
            Tail.Store(half, destination, count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 LoadInt8(sbyte* source, int count)
    {
        Vector128<sbyte> bytes = Tail.Load(source, Math.Min(count, 4));
        return new(Vector128.ConvertToSingle(Vector128.WidenLower(Vector128.WidenLower(bytes))));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInt8(Vec128 value, sbyte* destination, int count)
    {
        Vector128<int> whole = (value._v + Vector128.Create(Tail.RoundToInteger)).AsInt32();
        Vector128<short> words = Vector128.Narrow(whole, whole);
        Tail.Store(Vector128.Narrow(words, words), destination, Math.Min(count, 4));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 operator +(Vec128 a, Vec128 b) => new(a._v + b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 operator -(Vec128 a, Vec128 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 operator *(Vec128 a, Vec128 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 operator /(Vec128 a, Vec128 b) => new(a._v / b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 MultiplyAdd(Vec128 a, Vec128 b, Vec128 c) => new(Vector128.MultiplyAddEstimate(a._v, b._v, c._v));

    // spelled out, for Arm's own minimum and maximum return NaN where either is
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 Max(Vec128 a, Vec128 b) =>
        new(Vector128.ConditionalSelect(Vector128.GreaterThan(a._v, b._v), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 Min(Vec128 a, Vec128 b) =>
        new(Vector128.ConditionalSelect(Vector128.LessThan(a._v, b._v), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 Sqrt(Vec128 x) => new(Vector128.Sqrt(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 Abs(Vec128 x) => new(Vector128.Abs(x._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 WherePositive(Vec128 condition, Vec128 value) =>
        new(Vector128.GreaterThan(condition._v, Vector128<float>.Zero) & value._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 First(Vec128 value, Vec128 other, int count) => count >= 4
        ? value
        : new(Vector128.ConditionalSelect(Vector128.LessThan(Vector128<int>.Indices, Vector128.Create(count)).AsSingle(), value._v, other._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vec128 TimesPowerOfTwo(Vec128 x, Vec128 n)
    {
        Vector128<int> whole = Vector128.ConvertToInt32Native(n._v);
        Vector128<int> half = whole >> 1;
        Vector128<int> bias = Vector128.Create(127);
        return new(x._v * ((half + bias) << 23).AsSingle() * ((whole - half + bias) << 23).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Vec128 x) => (x._v[0] + x._v[2]) + (x._v[1] + x._v[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxOf(Vec128 x) => MathF.Max(MathF.Max(x._v[0], x._v[1]), MathF.Max(x._v[2], x._v[3]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void AddTo(Vec128 x, bool squares, double* sums)
    {
        (Vector128<double> low, Vector128<double> high) = Vector128.Widen(x._v);
        (Vector128.Load(sums) + (squares ? low * low : low)).Store(sums);
        (Vector128.Load(sums + 2) + (squares ? high * high : high)).Store(sums + 2);
    }
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
