// exp and sigmoid on every vector path against the double-precision library: below 1.5 and 3 units in the last place over the
// whole range of normal results, limits exact, tails right.
using OrionNative.Kernels.Cpu;

namespace OrionNative.Kernels.Tests;

public unsafe class VectorMathTests
{
    [Fact]
    public void Exp_WholeRange_IsWithinOneAndAHalfUnits()
    {
        Check<Vec128>();
        Check<Vec256>();
        Check<Vec512>();

        static void Check<TVec>() where TVec : struct, IVec<TVec>
        {
            for (float x = -87.3f; x < 88.7f; x += 0.00037f)
            {
                double exact = Math.Exp(x);
                float found = Lane(VectorMath.Exp(TVec.All(x)));
                double unit = MathF.BitIncrement((float)exact) - (float)exact;
                if (!(Math.Abs(found - exact) <= 1.5 * unit))
                {
                    Assert.Fail($"exp({x:R}) is {exact:R}, found {found:R}, off by {Math.Abs(found - exact) / unit} units");
                }

                double sigmoid = 1 / (1 + Math.Exp(-x));
                float foundSigmoid = Lane(VectorMath.Sigmoid(TVec.All(x)));
                unit = MathF.BitIncrement((float)sigmoid) - (float)sigmoid;
                if (!(Math.Abs(foundSigmoid - sigmoid) <= 3 * unit))
                {
                    Assert.Fail($"sigmoid({x:R}) is {sigmoid:R}, found {foundSigmoid:R}");
                }
            }
        }
    }

    [Fact]
    public void Exp_LimitsAndSubnormals_AreRight()
    {
        Check<Vec128>();
        Check<Vec256>();
        Check<Vec512>();

        static void Check<TVec>() where TVec : struct, IVec<TVec>
        {
            Assert.Equal(0f, Lane(VectorMath.Exp(TVec.All(float.NegativeInfinity))));
            Assert.Equal(0f, Lane(VectorMath.Exp(TVec.All(-1e30f))));
            Assert.Equal(0f, Lane(VectorMath.Exp(TVec.All(-104.5f))));
            Assert.Equal(1f, Lane(VectorMath.Exp(TVec.All(0f))));
            Assert.Equal(1f, Lane(VectorMath.Exp(TVec.All(-0f))));
            Assert.Equal(float.PositiveInfinity, Lane(VectorMath.Exp(TVec.All(88.8f))));
            Assert.Equal(float.PositiveInfinity, Lane(VectorMath.Exp(TVec.All(float.PositiveInfinity))));
            Assert.True(float.IsNaN(Lane(VectorMath.Exp(TVec.All(float.NaN)))));
            for (float x = -103.9f; x < -87.3f; x += 0.013f)
            {
                // two roundings to the spacing of subnormal numbers
                Assert.InRange(Lane(VectorMath.Exp(TVec.All(x))) - Math.Exp(x), -2 * float.Epsilon - 1.5e-7 * Math.Exp(x), 2 * float.Epsilon + 1.5e-7 * Math.Exp(x));
            }
        }
    }

    [Fact]
    public void LoadAndStore_EveryCount_TouchOnlyTheirLanes()
    {
        Check<Vec128>();
        Check<Vec256>();
        Check<Vec512>();

        static void Check<TVec>() where TVec : struct, IVec<TVec>
        {
            for (int count = 1; count <= TVec.Width + 2; count++)
            {
                float[] source = [.. Enumerable.Range(1, 40).Select(i => (float)i)], destination = new float[40];
                ushort[] half = new ushort[40];
                int lanes = Math.Min(count, TVec.Width);
                float expectedSum = lanes * (lanes + 1) / 2;
                fixed (float* s = source, d = destination)
                fixed (ushort* h = half)
                {
                    TVec loaded = TVec.Load(s, count);
                    Assert.Equal(expectedSum, TVec.Sum(loaded));
                    Assert.Equal(lanes, TVec.MaxOf(loaded));
                    TVec.Store(TVec.Load(s), d, count);
                    TVec.StoreBFloat16(TVec.Load(s), h, count);
                    Assert.Equal(expectedSum, TVec.Sum(TVec.LoadBFloat16(h, count)));
                    Assert.Equal(-expectedSum, TVec.Sum(TVec.First(TVec.All(0) - TVec.Load(s), TVec.All(0), count)));
                }

                Assert.Equal(source[..lanes], destination[..lanes]);
                Assert.All(destination[lanes..], value => Assert.Equal(0f, value));
                Assert.All(half[lanes..], value => Assert.Equal(0, value));
            }
        }
    }

    static float Lane<TVec>(TVec value) where TVec : struct, IVec<TVec>
    {
        float lane;
        TVec.Store(value, &lane, 1);
        return lane;
    }
}
