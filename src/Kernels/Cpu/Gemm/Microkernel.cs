// The innermost loops of the matrix product: a small tile of c stays in registers while k runs.
//   c[i, j] = alpha * sum_k a[k*stepA + i] * b[k*stepB + j] + beta * c[i, j]         2*rows*columns FLOP a step of k
// Rows are broadcast, columns are lanes: 14 x 2 vectors fill the 32 registers of AVX-512 (28 sums, 2 columns, 1 row),
// 4 x 3 the 16 of AVX2, 8 x 3 the 32 of Arm; the smaller tiles finish the last rows.
// Invariant: every element is one chain of fused multiply-adds over rising k, so the choice of tile changes no bit.
using System.Runtime.CompilerServices;

namespace OrionNative.Kernels.Cpu.Gemm;

#pragma warning disable format // a row of the tile is a line

static unsafe class Microkernel<TVec>
    where TVec : struct, IVec<TVec>
{
    /// <summary>14 rows of 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile14x2(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f);
        TVec c10 = TVec.All(0f), c11 = TVec.All(0f);
        TVec c20 = TVec.All(0f), c21 = TVec.All(0f);
        TVec c30 = TVec.All(0f), c31 = TVec.All(0f);
        TVec c40 = TVec.All(0f), c41 = TVec.All(0f);
        TVec c50 = TVec.All(0f), c51 = TVec.All(0f);
        TVec c60 = TVec.All(0f), c61 = TVec.All(0f);
        TVec c70 = TVec.All(0f), c71 = TVec.All(0f);
        TVec c80 = TVec.All(0f), c81 = TVec.All(0f);
        TVec c90 = TVec.All(0f), c91 = TVec.All(0f);
        TVec ca0 = TVec.All(0f), ca1 = TVec.All(0f);
        TVec cb0 = TVec.All(0f), cb1 = TVec.All(0f);
        TVec cc0 = TVec.All(0f), cc1 = TVec.All(0f);
        TVec cd0 = TVec.All(0f), cd1 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01);
            x = TVec.All(a[1]); c10 = TVec.MultiplyAdd(x, b0, c10); c11 = TVec.MultiplyAdd(x, b1, c11);
            x = TVec.All(a[2]); c20 = TVec.MultiplyAdd(x, b0, c20); c21 = TVec.MultiplyAdd(x, b1, c21);
            x = TVec.All(a[3]); c30 = TVec.MultiplyAdd(x, b0, c30); c31 = TVec.MultiplyAdd(x, b1, c31);
            x = TVec.All(a[4]); c40 = TVec.MultiplyAdd(x, b0, c40); c41 = TVec.MultiplyAdd(x, b1, c41);
            x = TVec.All(a[5]); c50 = TVec.MultiplyAdd(x, b0, c50); c51 = TVec.MultiplyAdd(x, b1, c51);
            x = TVec.All(a[6]); c60 = TVec.MultiplyAdd(x, b0, c60); c61 = TVec.MultiplyAdd(x, b1, c61);
            x = TVec.All(a[7]); c70 = TVec.MultiplyAdd(x, b0, c70); c71 = TVec.MultiplyAdd(x, b1, c71);
            x = TVec.All(a[8]); c80 = TVec.MultiplyAdd(x, b0, c80); c81 = TVec.MultiplyAdd(x, b1, c81);
            x = TVec.All(a[9]); c90 = TVec.MultiplyAdd(x, b0, c90); c91 = TVec.MultiplyAdd(x, b1, c91);
            x = TVec.All(a[10]); ca0 = TVec.MultiplyAdd(x, b0, ca0); ca1 = TVec.MultiplyAdd(x, b1, ca1);
            x = TVec.All(a[11]); cb0 = TVec.MultiplyAdd(x, b0, cb0); cb1 = TVec.MultiplyAdd(x, b1, cb1);
            x = TVec.All(a[12]); cc0 = TVec.MultiplyAdd(x, b0, cc0); cc1 = TVec.MultiplyAdd(x, b1, cc1);
            x = TVec.All(a[13]); cd0 = TVec.MultiplyAdd(x, b0, cd0); cd1 = TVec.MultiplyAdd(x, b1, cd1);
        }

        Combine2(c00, c01, c, alpha, beta);
        c += strideC;
        Combine2(c10, c11, c, alpha, beta);
        c += strideC;
        Combine2(c20, c21, c, alpha, beta);
        c += strideC;
        Combine2(c30, c31, c, alpha, beta);
        c += strideC;
        Combine2(c40, c41, c, alpha, beta);
        c += strideC;
        Combine2(c50, c51, c, alpha, beta);
        c += strideC;
        Combine2(c60, c61, c, alpha, beta);
        c += strideC;
        Combine2(c70, c71, c, alpha, beta);
        c += strideC;
        Combine2(c80, c81, c, alpha, beta);
        c += strideC;
        Combine2(c90, c91, c, alpha, beta);
        c += strideC;
        Combine2(ca0, ca1, c, alpha, beta);
        c += strideC;
        Combine2(cb0, cb1, c, alpha, beta);
        c += strideC;
        Combine2(cc0, cc1, c, alpha, beta);
        c += strideC;
        Combine2(cd0, cd1, c, alpha, beta);
    }

    /// <summary>8 rows of 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile8x2(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f);
        TVec c10 = TVec.All(0f), c11 = TVec.All(0f);
        TVec c20 = TVec.All(0f), c21 = TVec.All(0f);
        TVec c30 = TVec.All(0f), c31 = TVec.All(0f);
        TVec c40 = TVec.All(0f), c41 = TVec.All(0f);
        TVec c50 = TVec.All(0f), c51 = TVec.All(0f);
        TVec c60 = TVec.All(0f), c61 = TVec.All(0f);
        TVec c70 = TVec.All(0f), c71 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01);
            x = TVec.All(a[1]); c10 = TVec.MultiplyAdd(x, b0, c10); c11 = TVec.MultiplyAdd(x, b1, c11);
            x = TVec.All(a[2]); c20 = TVec.MultiplyAdd(x, b0, c20); c21 = TVec.MultiplyAdd(x, b1, c21);
            x = TVec.All(a[3]); c30 = TVec.MultiplyAdd(x, b0, c30); c31 = TVec.MultiplyAdd(x, b1, c31);
            x = TVec.All(a[4]); c40 = TVec.MultiplyAdd(x, b0, c40); c41 = TVec.MultiplyAdd(x, b1, c41);
            x = TVec.All(a[5]); c50 = TVec.MultiplyAdd(x, b0, c50); c51 = TVec.MultiplyAdd(x, b1, c51);
            x = TVec.All(a[6]); c60 = TVec.MultiplyAdd(x, b0, c60); c61 = TVec.MultiplyAdd(x, b1, c61);
            x = TVec.All(a[7]); c70 = TVec.MultiplyAdd(x, b0, c70); c71 = TVec.MultiplyAdd(x, b1, c71);
        }

        Combine2(c00, c01, c, alpha, beta);
        c += strideC;
        Combine2(c10, c11, c, alpha, beta);
        c += strideC;
        Combine2(c20, c21, c, alpha, beta);
        c += strideC;
        Combine2(c30, c31, c, alpha, beta);
        c += strideC;
        Combine2(c40, c41, c, alpha, beta);
        c += strideC;
        Combine2(c50, c51, c, alpha, beta);
        c += strideC;
        Combine2(c60, c61, c, alpha, beta);
        c += strideC;
        Combine2(c70, c71, c, alpha, beta);
    }

    /// <summary>4 rows of 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile4x2(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f);
        TVec c10 = TVec.All(0f), c11 = TVec.All(0f);
        TVec c20 = TVec.All(0f), c21 = TVec.All(0f);
        TVec c30 = TVec.All(0f), c31 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01);
            x = TVec.All(a[1]); c10 = TVec.MultiplyAdd(x, b0, c10); c11 = TVec.MultiplyAdd(x, b1, c11);
            x = TVec.All(a[2]); c20 = TVec.MultiplyAdd(x, b0, c20); c21 = TVec.MultiplyAdd(x, b1, c21);
            x = TVec.All(a[3]); c30 = TVec.MultiplyAdd(x, b0, c30); c31 = TVec.MultiplyAdd(x, b1, c31);
        }

        Combine2(c00, c01, c, alpha, beta);
        c += strideC;
        Combine2(c10, c11, c, alpha, beta);
        c += strideC;
        Combine2(c20, c21, c, alpha, beta);
        c += strideC;
        Combine2(c30, c31, c, alpha, beta);
    }

    /// <summary>2 rows of 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile2x2(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f);
        TVec c10 = TVec.All(0f), c11 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01);
            x = TVec.All(a[1]); c10 = TVec.MultiplyAdd(x, b0, c10); c11 = TVec.MultiplyAdd(x, b1, c11);
        }

        Combine2(c00, c01, c, alpha, beta);
        c += strideC;
        Combine2(c10, c11, c, alpha, beta);
    }

    /// <summary>One row of 2 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile1x2(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01);
        }

        Combine2(c00, c01, c, alpha, beta);
    }

    /// <summary>8 rows of 3 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile8x3(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f), c02 = TVec.All(0f);
        TVec c10 = TVec.All(0f), c11 = TVec.All(0f), c12 = TVec.All(0f);
        TVec c20 = TVec.All(0f), c21 = TVec.All(0f), c22 = TVec.All(0f);
        TVec c30 = TVec.All(0f), c31 = TVec.All(0f), c32 = TVec.All(0f);
        TVec c40 = TVec.All(0f), c41 = TVec.All(0f), c42 = TVec.All(0f);
        TVec c50 = TVec.All(0f), c51 = TVec.All(0f), c52 = TVec.All(0f);
        TVec c60 = TVec.All(0f), c61 = TVec.All(0f), c62 = TVec.All(0f);
        TVec c70 = TVec.All(0f), c71 = TVec.All(0f), c72 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), b2 = TVec.Load(b + (2 * TVec.Width)), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01); c02 = TVec.MultiplyAdd(x, b2, c02);
            x = TVec.All(a[1]); c10 = TVec.MultiplyAdd(x, b0, c10); c11 = TVec.MultiplyAdd(x, b1, c11); c12 = TVec.MultiplyAdd(x, b2, c12);
            x = TVec.All(a[2]); c20 = TVec.MultiplyAdd(x, b0, c20); c21 = TVec.MultiplyAdd(x, b1, c21); c22 = TVec.MultiplyAdd(x, b2, c22);
            x = TVec.All(a[3]); c30 = TVec.MultiplyAdd(x, b0, c30); c31 = TVec.MultiplyAdd(x, b1, c31); c32 = TVec.MultiplyAdd(x, b2, c32);
            x = TVec.All(a[4]); c40 = TVec.MultiplyAdd(x, b0, c40); c41 = TVec.MultiplyAdd(x, b1, c41); c42 = TVec.MultiplyAdd(x, b2, c42);
            x = TVec.All(a[5]); c50 = TVec.MultiplyAdd(x, b0, c50); c51 = TVec.MultiplyAdd(x, b1, c51); c52 = TVec.MultiplyAdd(x, b2, c52);
            x = TVec.All(a[6]); c60 = TVec.MultiplyAdd(x, b0, c60); c61 = TVec.MultiplyAdd(x, b1, c61); c62 = TVec.MultiplyAdd(x, b2, c62);
            x = TVec.All(a[7]); c70 = TVec.MultiplyAdd(x, b0, c70); c71 = TVec.MultiplyAdd(x, b1, c71); c72 = TVec.MultiplyAdd(x, b2, c72);
        }

        Combine3(c00, c01, c02, c, alpha, beta);
        c += strideC;
        Combine3(c10, c11, c12, c, alpha, beta);
        c += strideC;
        Combine3(c20, c21, c22, c, alpha, beta);
        c += strideC;
        Combine3(c30, c31, c32, c, alpha, beta);
        c += strideC;
        Combine3(c40, c41, c42, c, alpha, beta);
        c += strideC;
        Combine3(c50, c51, c52, c, alpha, beta);
        c += strideC;
        Combine3(c60, c61, c62, c, alpha, beta);
        c += strideC;
        Combine3(c70, c71, c72, c, alpha, beta);
    }

    /// <summary>4 rows of 3 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile4x3(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f), c02 = TVec.All(0f);
        TVec c10 = TVec.All(0f), c11 = TVec.All(0f), c12 = TVec.All(0f);
        TVec c20 = TVec.All(0f), c21 = TVec.All(0f), c22 = TVec.All(0f);
        TVec c30 = TVec.All(0f), c31 = TVec.All(0f), c32 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), b2 = TVec.Load(b + (2 * TVec.Width)), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01); c02 = TVec.MultiplyAdd(x, b2, c02);
            x = TVec.All(a[1]); c10 = TVec.MultiplyAdd(x, b0, c10); c11 = TVec.MultiplyAdd(x, b1, c11); c12 = TVec.MultiplyAdd(x, b2, c12);
            x = TVec.All(a[2]); c20 = TVec.MultiplyAdd(x, b0, c20); c21 = TVec.MultiplyAdd(x, b1, c21); c22 = TVec.MultiplyAdd(x, b2, c22);
            x = TVec.All(a[3]); c30 = TVec.MultiplyAdd(x, b0, c30); c31 = TVec.MultiplyAdd(x, b1, c31); c32 = TVec.MultiplyAdd(x, b2, c32);
        }

        Combine3(c00, c01, c02, c, alpha, beta);
        c += strideC;
        Combine3(c10, c11, c12, c, alpha, beta);
        c += strideC;
        Combine3(c20, c21, c22, c, alpha, beta);
        c += strideC;
        Combine3(c30, c31, c32, c, alpha, beta);
    }

    /// <summary>2 rows of 3 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile2x3(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f), c02 = TVec.All(0f);
        TVec c10 = TVec.All(0f), c11 = TVec.All(0f), c12 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), b2 = TVec.Load(b + (2 * TVec.Width)), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01); c02 = TVec.MultiplyAdd(x, b2, c02);
            x = TVec.All(a[1]); c10 = TVec.MultiplyAdd(x, b0, c10); c11 = TVec.MultiplyAdd(x, b1, c11); c12 = TVec.MultiplyAdd(x, b2, c12);
        }

        Combine3(c00, c01, c02, c, alpha, beta);
        c += strideC;
        Combine3(c10, c11, c12, c, alpha, beta);
    }

    /// <summary>One row of 3 vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Tile1x3(nint k, float* a, nint stepA, float* b, nint stepB, float* c, nint strideC, float alpha, float beta)
    {
        TVec c00 = TVec.All(0f), c01 = TVec.All(0f), c02 = TVec.All(0f);
        for (; k > 0; k--, a += stepA, b += stepB)
        {
            TVec b0 = TVec.Load(b), b1 = TVec.Load(b + TVec.Width), b2 = TVec.Load(b + (2 * TVec.Width)), x;
            x = TVec.All(a[0]); c00 = TVec.MultiplyAdd(x, b0, c00); c01 = TVec.MultiplyAdd(x, b1, c01); c02 = TVec.MultiplyAdd(x, b2, c02);
        }

        Combine3(c00, c01, c02, c, alpha, beta);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Combine2(TVec sum0, TVec sum1, float* c, float alpha, float beta)
    {
        Combine(sum0, c, alpha, beta);
        Combine(sum1, c + TVec.Width, alpha, beta);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Combine3(TVec sum0, TVec sum1, TVec sum2, float* c, float alpha, float beta)
    {
        Combine2(sum0, sum1, c, alpha, beta);
        Combine(sum2, c + (2 * TVec.Width), alpha, beta);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Combine(TVec sum, float* c, float alpha, float beta)
    {
        TVec scaled = TVec.All(alpha);
        TVec.Store(beta == 0 ? scaled * sum : TVec.MultiplyAdd(scaled, sum, TVec.All(beta) * TVec.Load(c)), c);
    }
}
