// Normal variates by position: value(seed, name, i) needs no generator state, so any cut of a model, any order and any
// number of threads give the same weights.
//   key = mix(mix(seed) ^ fnv1a(name))      u = (mix(key + i*golden) >> 11 + 1/2) / 2^53      x = quantile(u)
// mix is SplitMix64's finalizer (Steele, Lea, Flood 2014); the quantile is AS 241's PPND7 (Wichura 1988, 1e-7 relative).
// Only IEEE + - * / sqrt are used, the logarithm included, so every platform computes the same bits.
using System.Text;

namespace OrionNative.Engine.Model;

/// <summary>The standard normal variates of one named tensor.</summary>
readonly struct CounterNormal
{
    const ulong Golden = 0x9E3779B97F4A7C15;
    readonly ulong _key;

    public CounterNormal(long seed, string name)
    {
        ulong hash = 0xCBF29CE484222325;
        foreach (byte b in Encoding.UTF8.GetBytes(name))
        {
            hash = (hash ^ b) * 0x100000001B3;
        }

        _key = Mix(Mix((ulong)seed) ^ hash);
    }

    /// <summary>Variate number <paramref name="index"/>.</summary>
    public double At(long index) => Quantile(Uniform(index));

    /// <summary>A number in (0, 1), never 0 or 1.</summary>
    public double Uniform(long index) => ((Mix(_key + ((ulong)index * Golden)) >> 11) + 0.5) * (1.0 / (1L << 53));

    /// <summary>The x with normal probability p below it.</summary>
    public static double Quantile(double p)
    {
        double q = p - 0.5;
        if (Math.Abs(q) <= 0.425)
        {
            double r = 0.180625 - (q * q);
            return q * ((((((59.109374720 * r) + 159.29113202) * r) + 50.434271938) * r) + 3.3871327179)
                / ((((((67.187563600 * r) + 78.757757664) * r) + 17.895169469) * r) + 1);
        }

        double tail = Math.Sqrt(-Log(q < 0 ? p : 1 - p));
        double x;
        if (tail <= 5)
        {
            double r = tail - 1.6;
            x = ((((((0.17023821103 * r) + 1.3067284816) * r) + 2.7568153900) * r) + 1.4234372777)
                / ((((0.12021132975 * r) + 0.73700164250) * r) + 1);
        }
        else
        {
            double r = tail - 5;
            x = ((((((0.017337203997 * r) + 0.42868294337) * r) + 3.0812263860) * r) + 6.6579051150)
                / ((((0.012258202635 * r) + 0.24197894225) * r) + 1);
        }

        return q < 0 ? -x : x;
    }

    // ln(x) = e*ln2 + 2*atanh(s), s = (m-1)/(m+1), m in [0.5, 1): |s| <= 1/3, so 17 terms reach double precision.
    static double Log(double x)
    {
        long bits = BitConverter.DoubleToInt64Bits(x);
        int exponent = (int)((bits >> 52) & 0x7FF) - 1022;
        double m = BitConverter.Int64BitsToDouble((bits & 0xFFFFFFFFFFFFF) | (1022L << 52));
        double s = (m - 1) / (m + 1), square = s * s, sum = 0;
        for (int k = 33; k >= 1; k -= 2)
        {
            sum = (sum * square) + (1.0 / k);
        }

        return (exponent * 0.69314718055994530942) + (2 * s * sum);
    }

    static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
