// The few functions that vector units lack. exp(x) = 2^n * exp(r) with n = round(x/ln 2), |r| <= ln(2)/2 and
// exp(r) = 1 + r + r^2*q(r), q of degree 4, fitted to the smallest largest relative error (3.1e-9 before rounding).
// Error below 1.5 ulp where the result is normal; exact limits: exp(-inf) = 0, exp(large) = inf, NaN stays NaN.
using System.Runtime.CompilerServices;

namespace OrionNative.Kernels.Cpu;

/// <summary>Functions over vectors of any width.</summary>
static class VectorMath
{
    const float Log2E = 1.44269504f;
    const float Ln2High = 0.693145752f;     // the upper 16 bits: n*Ln2High is exact
    const float Ln2Low = 1.42860677e-6f;
    const float Overflow = 89f;             // exp gives infinity from 88.73
    const float Underflow = -105f;          // exp gives zero from -103.98

    /// <summary>e^x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVec Exp<TVec>(TVec x) where TVec : struct, IVec<TVec>
    {
        TVec limited = TVec.Max(TVec.All(Underflow), TVec.Min(TVec.All(Overflow), x));
        TVec n = TVec.MultiplyAdd(limited, TVec.All(Log2E), TVec.All(Tail.RoundToInteger)) - TVec.All(Tail.RoundToInteger);
        TVec r = TVec.MultiplyAdd(n, TVec.All(-Ln2High), limited);
        r = TVec.MultiplyAdd(n, TVec.All(-Ln2Low), r);
        TVec q = TVec.MultiplyAdd(r, TVec.All(0.00138143203f), TVec.All(0.00836885255f));
        q = TVec.MultiplyAdd(r, q, TVec.All(0.0416684002f));
        q = TVec.MultiplyAdd(r, q, TVec.All(0.166665196f));
        q = TVec.MultiplyAdd(r, q, TVec.All(0.499999940f));
        TVec p = TVec.MultiplyAdd(r * r, q, r) + TVec.All(1f);
        return TVec.TimesPowerOfTwo(p, n);
    }

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVec Sigmoid<TVec>(TVec x) where TVec : struct, IVec<TVec> =>
        TVec.All(1f) / (TVec.All(1f) + Exp(TVec.All(0f) - x));

    /// <summary>x where silu(x) is not zero in single precision, else a bound where it is: minus infinity times zero never
    /// comes up.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVec SiluDomain<TVec>(TVec x) where TVec : struct, IVec<TVec> => TVec.Max(TVec.All(Underflow), x);

    /// <summary>x / (1 + e^-x); 0 at minus infinity, its limit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVec Silu<TVec>(TVec x) where TVec : struct, IVec<TVec>
    {
        TVec limited = SiluDomain(x);
        return limited * Sigmoid(limited);
    }

    /// <summary>The derivative of silu: q + x*q*(1-q) with q = sigmoid(x); 0 and 1 at the infinities.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVec SiluSlope<TVec>(TVec x) where TVec : struct, IVec<TVec>
    {
        TVec limited = TVec.Min(TVec.All(float.MaxValue), SiluDomain(x));
        TVec q = Sigmoid(limited);
        return TVec.MultiplyAdd(limited * q, TVec.All(1f) - q, q);
    }
}
