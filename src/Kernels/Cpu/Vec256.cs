// Eight lanes: AVX2 with its masked loads for tails. See IVec for the promises.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace OrionNative.Kernels.Cpu;

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

    public static double SumOf(float* x, int n, bool squares)
    {
        Vector256<double> sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        for (int i = 0; i < n; i += 2 * Width)
        {
            (Vector256<double> a, Vector256<double> b) = Vector256.Widen(Load(x + i, n - i)._v);
            (Vector256<double> c, Vector256<double> d) = i + Width < n ? Vector256.Widen(Load(x + i + Width, n - i - Width)._v) : default;
            sum0 += squares ? a * a : a;
            sum1 += squares ? b * b : b;
            sum2 += squares ? c * c : c;
            sum3 += squares ? d * d : d;
        }

        return Vector256.Sum((sum0 + sum1) + (sum2 + sum3));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Mask(int count) => Vector256.LessThan(Vector256<int>.Indices, Vector256.Create(count)).AsSingle();
}
