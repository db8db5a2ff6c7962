// AdamW on the CPU: one pass. Traffic: 28 bytes a parameter (reads w, g, m, v; writes w, m, v).
// The bias corrections are folded into two factors in double before the pass:
//   w = w*decay - rate * m / (sqrt(v)*root + eps),   rate = lr/(1-b1^t),  root = 1/sqrt(1-b2^t),  decay = 1 - lr*weightDecay
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    struct AdamWFactors
    {
        public float GradientScale, Beta1, OneMinusBeta1, Beta2, OneMinusBeta2, Decay, Rate, Root, Epsilon;
    }

    /// <inheritdoc/>
    public void SetAdamW(AdamWStep step, nint settings)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step.Step, 1);
        *(AdamWStep*)settings = step;
    }

    /// <inheritdoc/>
    public void AdamW(Tensor weight, Tensor low, Tensor gradient, Tensor m, Tensor v, nint settings, Tensor scale)
    {
        Shape.IsType(weight, ElementType.Float32);
        Shape.Holds(low.IsEmpty, "no low half: weights on the CPU are Float32", low);
        Shape.Is(gradient, ElementType.Float32, weight.Rows, weight.Columns);
        Shape.Is(m, ElementType.Float32, weight.Rows, weight.Columns);
        Shape.Is(v, ElementType.Float32, weight.Rows, weight.Columns);
        Shape.Is(scale, ElementType.Float32, 1, 1);
        float gradientScale = *(float*)scale.Address;
        if (gradientScale < 0)
        {
            return;
        }

        AdamWStep step = *(AdamWStep*)settings;
        AdamWFactors factors = new()
        {
            GradientScale = gradientScale,
            Beta1 = step.Beta1,
            OneMinusBeta1 = 1f - step.Beta1,
            Beta2 = step.Beta2,
            OneMinusBeta2 = 1f - step.Beta2,
            Decay = (float)(1.0 - ((double)step.LearningRate * step.WeightDecay)),
            Rate = (float)(step.LearningRate / (1.0 - Math.Pow(step.Beta1, step.Step))),
            Root = (float)(1.0 / Math.Sqrt(1.0 - Math.Pow(step.Beta2, step.Step))),
            Epsilon = step.Epsilon,
        };
        Map<AdamWRule>(weight, gradient, m, v, &factors);
    }

    struct AdamWRule : IMap
    {
        public static void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>
        {
            AdamWFactors* f = (AdamWFactors*)constants;
            TVec scale = TVec.All(f->GradientScale), decay = TVec.All(f->Decay), rate = TVec.All(-f->Rate);
            TVec beta1 = TVec.All(f->Beta1), new1 = TVec.All(f->OneMinusBeta1), beta2 = TVec.All(f->Beta2), new2 = TVec.All(f->OneMinusBeta2);
            TVec root = TVec.All(f->Root), epsilon = TVec.All(f->Epsilon);
            for (int i = 0; i < n; i += TVec.Width)
            {
                int left = n - i;
                TVec g = TVec.Load(b + i, left) * scale;
                TVec m = TVec.MultiplyAdd(TVec.Load(c + i, left), beta1, new1 * g);
                TVec v = TVec.MultiplyAdd(TVec.Load(d + i, left), beta2, new2 * g * g);
                TVec.Store(m, c + i, left);
                TVec.Store(v, d + i, left);
                TVec update = rate * m / TVec.MultiplyAdd(TVec.Sqrt(v), root, epsilon);
                TVec.Store(TVec.MultiplyAdd(TVec.Load(a + i, left), decay, update), a + i, left);
            }
        }
    }
}
