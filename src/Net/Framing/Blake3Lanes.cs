// Sixteen BLAKE3 chunks, or sixteen parents, at once: word i of all of them sits in vector i, so the compression is
// Blake3Block's with vectors for words, and only loading needs a 16x16 transpose.
// Cost per 16 blocks: 7 rounds x 8 G x 14 operations = 784 vector operations, 64 shuffles for the transpose.
// Without 512-bit registers the same code runs on halves and the transpose goes through memory.
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace OrionNative.Net.Framing;

using Lanes = Vector512<uint>;

static unsafe class Blake3Lanes
{
    /// <summary>Chunks or parents a call.</summary>
    public const int Count = 16;

    const int ChunkBytes = 1024, BlockBytes = 64;

    /// <summary>The chaining values of 16 whole chunks that lie one behind the other, none of them the root.</summary>
    public static void Chunks(byte* data, ulong firstIndex, byte* values)
    {
        Lanes low = Vector512.Create((uint)firstIndex) + Vector512<uint>.Indices;
        Lanes carry = Vector512.LessThan(low, Vector512.Create((uint)firstIndex)) & Vector512<uint>.One;
        Run(data, ChunkBytes, ChunkBytes / BlockBytes, low, Vector512.Create((uint)(firstIndex >> 32)) + carry, 0, 1, 2, values);
    }

    /// <summary>The chaining values of 16 parents of the 32 values at <paramref name="children"/>; may be done in place.</summary>
    public static void Parents(byte* children, byte* values, uint flags) =>
        Run(children, BlockBytes, 1, Lanes.Zero, Lanes.Zero, flags, 0, 0, values);

    [SkipLocalsInit]
    static void Run(byte* data, int stride, int blocks, Lanes low, Lanes high, uint flags, uint start, uint end, byte* values)
    {
        Lanes* m = stackalloc Lanes[16], t = stackalloc Lanes[16];
        byte* schedule = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Blake3Block.Schedule)); // constant data, never moved
        uint* key = stackalloc uint[8];
        Blake3Block.Key(key);
        Lanes h0 = Vector512.Create(key[0]), h1 = Vector512.Create(key[1]), h2 = Vector512.Create(key[2]), h3 = Vector512.Create(key[3]);
        Lanes h4 = Vector512.Create(key[4]), h5 = Vector512.Create(key[5]), h6 = Vector512.Create(key[6]), h7 = Vector512.Create(key[7]);
        for (int block = 0; block < blocks; block++)
        {
            Load(data + (block * BlockBytes), stride, m, t);
            uint blockFlags = flags | (block == 0 ? start : 0) | (block == blocks - 1 ? end : 0);
            Lanes v0 = h0, v1 = h1, v2 = h2, v3 = h3, v4 = h4, v5 = h5, v6 = h6, v7 = h7;
            Lanes v8 = Vector512.Create(Blake3Block.Iv0), v9 = Vector512.Create(Blake3Block.Iv1);
            Lanes va = Vector512.Create(Blake3Block.Iv2), vb = Vector512.Create(Blake3Block.Iv3);
            Lanes vc = low, vd = high, ve = Vector512.Create((uint)BlockBytes), vf = Vector512.Create(blockFlags);
            // a loop, not seven copies: unrolled, the locals outgrow what the compiler keeps in registers
            for (byte* s = schedule; s < schedule + Blake3Block.ScheduleBytes; s += 16)
            {
                Four(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref va, ref vb, ref vc, ref vd, ref ve, ref vf, m, s);
                Four(ref v0, ref v1, ref v2, ref v3, ref v5, ref v6, ref v7, ref v4, ref va, ref vb, ref v8, ref v9, ref vf, ref vc, ref vd, ref ve, m, s + 8);
            }
            h0 = v0 ^ v8; h1 = v1 ^ v9; h2 = v2 ^ va; h3 = v3 ^ vb;
            h4 = v4 ^ vc; h5 = v5 ^ vd; h6 = v6 ^ ve; h7 = v7 ^ vf;
        }
        (m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]) = (h0, h1, h2, h3, h4, h5, h6, h7);
        uint* word = (uint*)m;
        uint* value = (uint*)values;
        for (int lane = 0; lane < Count; lane++)
            for (int i = 0; i < 8; i++) value[(lane * 8) + i] = word[(i * Count) + lane];
    }

    // Four G side by side, step by step: their chains of 14 dependent operations fill the processor's pipes together.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Four(ref Lanes a0, ref Lanes a1, ref Lanes a2, ref Lanes a3, ref Lanes b0, ref Lanes b1, ref Lanes b2, ref Lanes b3,
        ref Lanes c0, ref Lanes c1, ref Lanes c2, ref Lanes c3, ref Lanes d0, ref Lanes d1, ref Lanes d2, ref Lanes d3, Lanes* m, byte* s)
    {
        a0 = a0 + b0 + m[s[0]]; a1 = a1 + b1 + m[s[2]]; a2 = a2 + b2 + m[s[4]]; a3 = a3 + b3 + m[s[6]];
        d0 = RotateRight(d0 ^ a0, 16); d1 = RotateRight(d1 ^ a1, 16); d2 = RotateRight(d2 ^ a2, 16); d3 = RotateRight(d3 ^ a3, 16);
        c0 += d0; c1 += d1; c2 += d2; c3 += d3;
        b0 = RotateRight(b0 ^ c0, 12); b1 = RotateRight(b1 ^ c1, 12); b2 = RotateRight(b2 ^ c2, 12); b3 = RotateRight(b3 ^ c3, 12);
        a0 = a0 + b0 + m[s[1]]; a1 = a1 + b1 + m[s[3]]; a2 = a2 + b2 + m[s[5]]; a3 = a3 + b3 + m[s[7]];
        d0 = RotateRight(d0 ^ a0, 8); d1 = RotateRight(d1 ^ a1, 8); d2 = RotateRight(d2 ^ a2, 8); d3 = RotateRight(d3 ^ a3, 8);
        c0 += d0; c1 += d1; c2 += d2; c3 += d3;
        b0 = RotateRight(b0 ^ c0, 7); b1 = RotateRight(b1 ^ c1, 7); b2 = RotateRight(b2 ^ c2, 7); b3 = RotateRight(b3 ^ c3, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Lanes RotateRight(Lanes x, [ConstantExpected] byte bits) =>
        Avx512F.IsSupported ? Avx512F.RotateRight(x, bits) : (x >>> bits) | (x << (32 - bits));

    // m[i] = word i of the blocks at data, data + stride, ...
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Load(byte* data, int stride, Lanes* m, Lanes* t)
    {
        if (!Avx512F.IsSupported)
        {
            for (int i = 0; i < 16; i++)
                for (int lane = 0; lane < Count; lane++) ((uint*)m)[(i * 16) + lane] = ((uint*)(data + (lane * stride)))[i];
            return;
        }
        // sixteen short streams are more than the processor foresees: ask for the same blocks of the next sixteen chunks
        if (stride == ChunkBytes)
            for (int lane = 0; lane < Count; lane++) Sse.Prefetch0(data + ((Count + lane) * ChunkBytes));
        for (int i = 0; i < 16; i += 4)
        {
            Lanes a = Vector512.Load((uint*)(data + (i * stride))), b = Vector512.Load((uint*)(data + ((i + 1) * stride)));
            Lanes c = Vector512.Load((uint*)(data + ((i + 2) * stride))), d = Vector512.Load((uint*)(data + ((i + 3) * stride)));
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
            Lanes low01 = Avx512F.Shuffle4x128(t[w], t[4 + w], 0x88), low23 = Avx512F.Shuffle4x128(t[8 + w], t[12 + w], 0x88);
            Lanes high01 = Avx512F.Shuffle4x128(t[w], t[4 + w], 0xDD), high23 = Avx512F.Shuffle4x128(t[8 + w], t[12 + w], 0xDD);
            m[w] = Avx512F.Shuffle4x128(low01, low23, 0x88);
            m[8 + w] = Avx512F.Shuffle4x128(low01, low23, 0xDD);
            m[4 + w] = Avx512F.Shuffle4x128(high01, high23, 0x88);
            m[12 + w] = Avx512F.Shuffle4x128(high01, high23, 0xDD);
        }
    }
}
