// The vectors that Blake3Lanes computes with: 512, 256 and 128 bits of 32-bit words.
// A rotation is one instruction with AVX-512 (at every width), a byte shuffle for 16 and 8 bits elsewhere, or two shifts.
// A transpose goes in two steps: within quarters of 128 bits by interleaving, then the quarters change places.
// Invariant: what is computed does not depend on the instructions that the processor has.
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace OrionNative.Net.Framing;

readonly unsafe struct Lanes512 : ILanes<Vector512<uint>>
{
    public static int Count => 16;

    public static Vector512<uint> All(uint word) => Vector512.Create(word);

    public static Vector512<uint> Add(Vector512<uint> a, Vector512<uint> b) => a + b;

    public static Vector512<uint> Xor(Vector512<uint> a, Vector512<uint> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<uint> RotateRight(Vector512<uint> x, [ConstantExpected] byte bits) =>
        Avx512F.IsSupported ? Avx512F.RotateRight(x, bits) : (x >>> bits) | (x << (32 - bits));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    [SkipLocalsInit]
    public static void Load(byte* data, int stride, Vector512<uint>* m)
    {
        if (!Avx512F.IsSupported)
        {
            Transpose.Words(data, stride, (uint*)m, Count);
            return;
        }
        // sixteen short streams are more than the processor foresees: ask for the same blocks of the next sixteen chunks
        if (stride > 64)
            for (int lane = 0; lane < Count; lane++) Sse.Prefetch0(data + ((Count + lane) * stride));
        Vector512<uint>* t = stackalloc Vector512<uint>[16];
        for (int i = 0; i < 16; i += 4)
        {
            Vector512<uint> a = Vector512.Load((uint*)(data + (i * stride))), b = Vector512.Load((uint*)(data + ((i + 1) * stride)));
            Vector512<uint> c = Vector512.Load((uint*)(data + ((i + 2) * stride))), d = Vector512.Load((uint*)(data + ((i + 3) * stride)));
            var ab = Avx512F.UnpackLow(a, b).AsUInt64();
            var cd = Avx512F.UnpackLow(c, d).AsUInt64();
            t[i] = Avx512F.UnpackLow(ab, cd).AsUInt32();
            t[i + 1] = Avx512F.UnpackHigh(ab, cd).AsUInt32();
            ab = Avx512F.UnpackHigh(a, b).AsUInt64();
            cd = Avx512F.UnpackHigh(c, d).AsUInt64();
            t[i + 2] = Avx512F.UnpackLow(ab, cd).AsUInt32();
            t[i + 3] = Avx512F.UnpackHigh(ab, cd).AsUInt32();
        }
        // t[4q + w] holds word w of each quarter, for the blocks 4q to 4q + 3
        for (int w = 0; w < 4; w++)
        {
            Vector512<uint> low01 = Avx512F.Shuffle4x128(t[w], t[4 + w], 0x88), low23 = Avx512F.Shuffle4x128(t[8 + w], t[12 + w], 0x88);
            Vector512<uint> high01 = Avx512F.Shuffle4x128(t[w], t[4 + w], 0xDD), high23 = Avx512F.Shuffle4x128(t[8 + w], t[12 + w], 0xDD);
            m[w] = Avx512F.Shuffle4x128(low01, low23, 0x88);
            m[8 + w] = Avx512F.Shuffle4x128(low01, low23, 0xDD);
            m[4 + w] = Avx512F.Shuffle4x128(high01, high23, 0x88);
            m[12 + w] = Avx512F.Shuffle4x128(high01, high23, 0xDD);
        }
    }
}

readonly unsafe struct Lanes256 : ILanes<Vector256<uint>>
{
    public static int Count => 8;

    public static Vector256<uint> All(uint word) => Vector256.Create(word);

    public static Vector256<uint> Add(Vector256<uint> a, Vector256<uint> b) => a + b;

    public static Vector256<uint> Xor(Vector256<uint> a, Vector256<uint> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<uint> RotateRight(Vector256<uint> x, [ConstantExpected] byte bits)
    {
        if (Avx512F.VL.IsSupported) return Avx512F.VL.RotateRight(x, bits);
        if (Avx2.IsSupported && bits == 16) return Avx2.Shuffle(x.AsByte(), Vector256.Create(Lanes128.By16, Lanes128.By16)).AsUInt32();
        if (Avx2.IsSupported && bits == 8) return Avx2.Shuffle(x.AsByte(), Vector256.Create(Lanes128.By8, Lanes128.By8)).AsUInt32();
        return (x >>> bits) | (x << (32 - bits));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load(byte* data, int stride, Vector256<uint>* m)
    {
        if (!Avx2.IsSupported)
        {
            Transpose.Words(data, stride, (uint*)m, Count);
            return;
        }
        for (int half = 0; half < 16; half += 8)
        {
            Four(data + (half * 4), stride, out Vector256<uint> a0, out Vector256<uint> a1, out Vector256<uint> a2, out Vector256<uint> a3);
            Four(data + (half * 4) + (4 * stride), stride, out Vector256<uint> b0, out Vector256<uint> b1, out Vector256<uint> b2, out Vector256<uint> b3);
            (m[half], m[half + 4]) = (Avx2.Permute2x128(a0, b0, 0x20), Avx2.Permute2x128(a0, b0, 0x31));
            (m[half + 1], m[half + 5]) = (Avx2.Permute2x128(a1, b1, 0x20), Avx2.Permute2x128(a1, b1, 0x31));
            (m[half + 2], m[half + 6]) = (Avx2.Permute2x128(a2, b2, 0x20), Avx2.Permute2x128(a2, b2, 0x31));
            (m[half + 3], m[half + 7]) = (Avx2.Permute2x128(a3, b3, 0x20), Avx2.Permute2x128(a3, b3, 0x31));
        }
    }

    // Word w of both quarters of four blocks.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Four(byte* data, int stride, out Vector256<uint> w0, out Vector256<uint> w1, out Vector256<uint> w2, out Vector256<uint> w3)
    {
        Vector256<uint> a = Vector256.Load((uint*)data), b = Vector256.Load((uint*)(data + stride));
        Vector256<uint> c = Vector256.Load((uint*)(data + (2 * stride))), d = Vector256.Load((uint*)(data + (3 * stride)));
        var ab = Avx2.UnpackLow(a, b).AsUInt64();
        var cd = Avx2.UnpackLow(c, d).AsUInt64();
        (w0, w1) = (Avx2.UnpackLow(ab, cd).AsUInt32(), Avx2.UnpackHigh(ab, cd).AsUInt32());
        ab = Avx2.UnpackHigh(a, b).AsUInt64();
        cd = Avx2.UnpackHigh(c, d).AsUInt64();
        (w2, w3) = (Avx2.UnpackLow(ab, cd).AsUInt32(), Avx2.UnpackHigh(ab, cd).AsUInt32());
    }
}

readonly unsafe struct Lanes128 : ILanes<Vector128<uint>>
{
    public static Vector128<byte> By16 => Vector128.Create((byte)2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);

    public static Vector128<byte> By8 => Vector128.Create((byte)1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);

    public static int Count => 4;

    public static Vector128<uint> All(uint word) => Vector128.Create(word);

    public static Vector128<uint> Add(Vector128<uint> a, Vector128<uint> b) => a + b;

    public static Vector128<uint> Xor(Vector128<uint> a, Vector128<uint> b) => a ^ b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<uint> RotateRight(Vector128<uint> x, [ConstantExpected] byte bits)
    {
        if (Avx512F.VL.IsSupported) return Avx512F.VL.RotateRight(x, bits);
        if (bits == 16) return Vector128.Shuffle(x.AsByte(), By16).AsUInt32();
        if (bits == 8) return Vector128.Shuffle(x.AsByte(), By8).AsUInt32();
        return (x >>> bits) | (x << (32 - bits));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load(byte* data, int stride, Vector128<uint>* m)
    {
        for (int w = 0; w < 16; w += 4)
        {
            byte* from = data + (w * 4);
            Vector128<uint> a = Vector128.Load((uint*)from), b = Vector128.Load((uint*)(from + stride));
            Vector128<uint> c = Vector128.Load((uint*)(from + (2 * stride))), d = Vector128.Load((uint*)(from + (3 * stride)));
            // twice the same interleaving: a0 c0 a1 c1 and b0 d0 b1 d1, then a0 b0 c0 d0 and a1 b1 c1 d1
            Vector128<uint> ac = Low(a, c), bd = Low(b, d);
            (m[w], m[w + 1]) = (Low(ac, bd), High(ac, bd));
            (ac, bd) = (High(a, c), High(b, d));
            (m[w + 2], m[w + 3]) = (Low(ac, bd), High(ac, bd));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<uint> Low(Vector128<uint> a, Vector128<uint> b) =>
        Sse2.IsSupported ? Sse2.UnpackLow(a, b) : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(a, b) : Vector128.Create(a[0], b[0], a[1], b[1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<uint> High(Vector128<uint> a, Vector128<uint> b) =>
        Sse2.IsSupported ? Sse2.UnpackHigh(a, b) : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(a, b) : Vector128.Create(a[2], b[2], a[3], b[3]);
}

static unsafe class Transpose
{
    /// <summary>The same word by word, for vectors wider than the processor's.</summary>
    public static void Words(byte* data, int stride, uint* m, int lanes)
    {
        for (int i = 0; i < 16; i++)
            for (int lane = 0; lane < lanes; lane++) m[(i * lanes) + lane] = ((uint*)(data + (lane * stride)))[i];
    }
}
