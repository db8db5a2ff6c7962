// Sixteen BLAKE3 chunks, or sixteen parents, at once: word i of all of them sits in vector i, so the compression is
// Blake3Block's with vectors for words, and only loading needs a transpose (Blake3Vectors). One text serves every width:
// the compiler makes it three times, for 16 lanes of 512 bits, 8 of 256 (two runs a call) and 4 of 128 (four runs).
// Cost per block and lane: 7 rounds x 8 G x 14 operations = 784 vector operations.
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace OrionNative.Net.Framing;

/// <summary>What the compression needs of a vector of 32-bit words.</summary>
interface ILanes<TVector> where TVector : unmanaged
{
    static abstract int Count { get; }

    static abstract TVector All(uint word);

    static abstract TVector Add(TVector a, TVector b);

    static abstract TVector Xor(TVector a, TVector b);

    static abstract TVector RotateRight(TVector x, [ConstantExpected] byte bits);

    /// <summary>m[i] = word i of the 64-byte blocks at data, data + stride, ..., for i below 16.</summary>
    static abstract unsafe void Load(byte* data, int stride, TVector* m);
}

static unsafe class Blake3Lanes
{
    /// <summary>Chunks or parents a call, whatever the width.</summary>
    public const int Count = 16;

    const int ChunkBytes = 1024, BlockBytes = 64, ValueBytes = 32;

    /// <summary>Lanes of the widest vectors that this processor computes with.</summary>
    public static readonly int Widest = Vector512.IsHardwareAccelerated ? 16 : Vector256.IsHardwareAccelerated ? 8 : 4;

    /// <summary>The chaining values of 16 whole chunks that lie one behind the other, none of them the root.</summary>
    public static void Chunks(int lanes, byte* data, ulong firstIndex, byte* values) =>
        Run(lanes, data, ChunkBytes, ChunkBytes / BlockBytes, firstIndex, 1, 0, 1, 2, values);

    /// <summary>The chaining values of 16 parents of the 32 values at <paramref name="children"/>; may be done in place.</summary>
    public static void Parents(int lanes, byte* children, byte* values, uint flags) =>
        Run(lanes, children, BlockBytes, 1, 0, 0, flags, 0, 0, values);

    static void Run(int lanes, byte* data, int stride, int blocks, ulong counter, uint step, uint flags, uint start, uint end, byte* values)
    {
        for (int lane = 0; lane < Count; lane += lanes)
        {
            byte* from = data + (lane * stride), to = values + (lane * ValueBytes);
            ulong first = counter + (step * (ulong)lane);
            switch (lanes)
            {
                case 16: Compress<Vector512<uint>, Lanes512>(from, stride, blocks, first, step, flags, start, end, to); break;
                case 8: Compress<Vector256<uint>, Lanes256>(from, stride, blocks, first, step, flags, start, end, to); break;
                default: Compress<Vector128<uint>, Lanes128>(from, stride, blocks, first, step, flags, start, end, to); break;
            }
        }
    }

    [SkipLocalsInit]
    static void Compress<V, L>(byte* data, int stride, int blocks, ulong counter, uint step, uint flags, uint start, uint end, byte* values)
        where V : unmanaged where L : ILanes<V>
    {
        V* m = stackalloc V[16];
        byte* schedule = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Blake3Block.Schedule)); // constant data, never moved
        uint* key = stackalloc uint[8], low = stackalloc uint[Count], high = stackalloc uint[Count];
        Blake3Block.Key(key);
        for (int lane = 0; lane < L.Count; lane++) (low[lane], high[lane]) = ((uint)(counter + (step * (ulong)lane)), (uint)((counter + (step * (ulong)lane)) >> 32));
        V h0 = L.All(key[0]), h1 = L.All(key[1]), h2 = L.All(key[2]), h3 = L.All(key[3]);
        V h4 = L.All(key[4]), h5 = L.All(key[5]), h6 = L.All(key[6]), h7 = L.All(key[7]);
        for (int block = 0; block < blocks; block++)
        {
            L.Load(data + (block * BlockBytes), stride, m);
            uint blockFlags = flags | (block == 0 ? start : 0) | (block == blocks - 1 ? end : 0);
            V v0 = h0, v1 = h1, v2 = h2, v3 = h3, v4 = h4, v5 = h5, v6 = h6, v7 = h7;
            V v8 = L.All(Blake3Block.Iv0), v9 = L.All(Blake3Block.Iv1), va = L.All(Blake3Block.Iv2), vb = L.All(Blake3Block.Iv3);
            V vc = *(V*)low, vd = *(V*)high, ve = L.All(BlockBytes), vf = L.All(blockFlags);
            // a loop, not seven copies: unrolled, the locals outgrow what the compiler keeps in registers
            for (byte* s = schedule; s < schedule + Blake3Block.ScheduleBytes; s += 16)
            {
                Four<V, L>(ref v0, ref v1, ref v2, ref v3, ref v4, ref v5, ref v6, ref v7, ref v8, ref v9, ref va, ref vb, ref vc, ref vd, ref ve, ref vf, m, s);
                Four<V, L>(ref v0, ref v1, ref v2, ref v3, ref v5, ref v6, ref v7, ref v4, ref va, ref vb, ref v8, ref v9, ref vf, ref vc, ref vd, ref ve, m, s + 8);
            }
            h0 = L.Xor(v0, v8); h1 = L.Xor(v1, v9); h2 = L.Xor(v2, va); h3 = L.Xor(v3, vb);
            h4 = L.Xor(v4, vc); h5 = L.Xor(v5, vd); h6 = L.Xor(v6, ve); h7 = L.Xor(v7, vf);
        }
        (m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7]) = (h0, h1, h2, h3, h4, h5, h6, h7);
        uint* word = (uint*)m;
        uint* value = (uint*)values;
        for (int lane = 0; lane < L.Count; lane++)
            for (int i = 0; i < 8; i++) value[(lane * 8) + i] = word[(i * L.Count) + lane];
    }

    // Four G side by side, step by step: their chains of 14 dependent operations fill the processor's pipes together.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Four<V, L>(ref V a0, ref V a1, ref V a2, ref V a3, ref V b0, ref V b1, ref V b2, ref V b3,
        ref V c0, ref V c1, ref V c2, ref V c3, ref V d0, ref V d1, ref V d2, ref V d3, V* m, byte* s)
        where V : unmanaged where L : ILanes<V>
    {
        a0 = L.Add(L.Add(a0, b0), m[s[0]]); a1 = L.Add(L.Add(a1, b1), m[s[2]]); a2 = L.Add(L.Add(a2, b2), m[s[4]]); a3 = L.Add(L.Add(a3, b3), m[s[6]]);
        Mix<V, L>(ref d0, a0, 16); Mix<V, L>(ref d1, a1, 16); Mix<V, L>(ref d2, a2, 16); Mix<V, L>(ref d3, a3, 16);
        c0 = L.Add(c0, d0); c1 = L.Add(c1, d1); c2 = L.Add(c2, d2); c3 = L.Add(c3, d3);
        Mix<V, L>(ref b0, c0, 12); Mix<V, L>(ref b1, c1, 12); Mix<V, L>(ref b2, c2, 12); Mix<V, L>(ref b3, c3, 12);
        a0 = L.Add(L.Add(a0, b0), m[s[1]]); a1 = L.Add(L.Add(a1, b1), m[s[3]]); a2 = L.Add(L.Add(a2, b2), m[s[5]]); a3 = L.Add(L.Add(a3, b3), m[s[7]]);
        Mix<V, L>(ref d0, a0, 8); Mix<V, L>(ref d1, a1, 8); Mix<V, L>(ref d2, a2, 8); Mix<V, L>(ref d3, a3, 8);
        c0 = L.Add(c0, d0); c1 = L.Add(c1, d1); c2 = L.Add(c2, d2); c3 = L.Add(c3, d3);
        Mix<V, L>(ref b0, c0, 7); Mix<V, L>(ref b1, c1, 7); Mix<V, L>(ref b2, c2, 7); Mix<V, L>(ref b3, c3, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Mix<V, L>(ref V x, V with, [ConstantExpected] byte bits) where V : unmanaged where L : ILanes<V> => x = L.RotateRight(L.Xor(x, with), bits);
}
