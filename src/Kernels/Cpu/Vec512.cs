// Sixteen lanes: AVX-512 with its masks for tails. See IVec for the promises.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace OrionNative.Kernels.Cpu;

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

    public static double SumOf(float* x, int n, bool squares)
    {
        Vector512<double> sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        for (int i = 0; i < n; i += 2 * Width)
        {
            (Vector512<double> a, Vector512<double> b) = Vector512.Widen(Load(x + i, n - i)._v);
            (Vector512<double> c, Vector512<double> d) = i + Width < n ? Vector512.Widen(Load(x + i + Width, n - i - Width)._v) : default;
            sum0 += squares ? a * a : a;
            sum1 += squares ? b * b : b;
            sum2 += squares ? c * c : c;
            sum3 += squares ? d * d : d;
        }

        return Vector512.Sum((sum0 + sum1) + (sum2 + sum3));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Mask(int count) => Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<ushort> Mask16(int count) => Vector256.LessThan(Vector256<ushort>.Indices, Vector256.Create((ushort)count));
}
