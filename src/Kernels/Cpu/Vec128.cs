// Four lanes, through the portable vectors alone: SSE and Arm. See IVec for the promises.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace OrionNative.Kernels.Cpu;

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

    public static double SumOf(float* x, int n, bool squares)
    {
        Vector128<double> sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        for (int i = 0; i < n; i += 2 * Width)
        {
            (Vector128<double> a, Vector128<double> b) = Vector128.Widen(Load(x + i, n - i)._v);
            (Vector128<double> c, Vector128<double> d) = i + Width < n ? Vector128.Widen(Load(x + i + Width, n - i - Width)._v) : default;
            sum0 += squares ? a * a : a;
            sum1 += squares ? b * b : b;
            sum2 += squares ? c * c : c;
            sum3 += squares ? d * d : d;
        }

        return Vector128.Sum((sum0 + sum1) + (sum2 + sum3));
    }
}
