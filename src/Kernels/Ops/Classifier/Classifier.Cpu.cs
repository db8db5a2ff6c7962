// The classifier on the CPU: 256 rows at a time. A product gives the chunk's logits; each row is then turned into its loss and,
// in place, into the gradient of the logits; two products carry that on. FLOP: 2*R*C*V forward, 4*R*C*V backward.
// A chunk is the same for every thread count, so gradHead's sum over chunks has one order.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int ClassifierRows = 256;

    struct ClassifierCall
    {
        public Tensor Logits;
        public int* Targets;
        public float* Losses;
        public bool WithGradient;
        public float Scale;
    }

    public long ClassifierBytes(int rows, int width, int vocabulary) => 4L * Math.Min(rows, ClassifierRows) * vocabulary;

    public void Classifier(Tensor hidden, Tensor head, Tensor targets, Tensor losses, Tensor gradHidden, Tensor gradHead, float gradientScale, nint scratch)
    {
        bool withGradient = ClassifierShapes.Check(ElementType.Float32, hidden, head, targets, losses, gradHidden, gradHead, scratch);
        for (int start = 0; start < hidden.Rows; start += ClassifierRows)
        {
            int rows = Math.Min(ClassifierRows, hidden.Rows - start);
            Tensor logits = new(scratch, ElementType.Float32, rows, head.Rows);
            MatrixProduct(hidden.RowRange(start, rows), false, head, true, logits, 1f, 0f);
            ClassifierCall call = new()
            {
                Logits = logits,
                Targets = (int*)targets.Address + start,
                Losses = (float*)losses.Address + start,
                WithGradient = withGradient,
                Scale = gradientScale,
            };
            Run(rows, &call, &ClassifierRow<Vec128>, &ClassifierRow<Vec256>, &ClassifierRow<Vec512>);
            if (withGradient)
            {
                MatrixProduct(logits, false, head, false, gradHidden.RowRange(start, rows), 1f, 0f);
                MatrixProduct(logits, true, hidden.RowRange(start, rows), false, gradHead, 1f, 1f);
            }
        }
    }

    static void ClassifierRow<TVec>(void* state, int row) where TVec : struct, IVec<TVec>
    {
        ClassifierCall* call = (ClassifierCall*)state;
        float* logits = RowOf(call->Logits, row);
        int n = call->Logits.Columns;
        int target = call->Targets[row];
        if (target < 0)
        {
            call->Losses[row] = 0f;
            if (call->WithGradient)
            {
                new Span<float>(logits, n).Clear();
            }

            return;
        }

        float max = MaxOfRow<TVec>(logits, n);
        float atTarget = logits[target];
        float sum = ExponentialsOfRow<TVec>(logits, n, max, call->WithGradient);
        call->Losses[row] = (float)(Math.Log(sum) + max - atTarget);
        if (!call->WithGradient)
        {
            return;
        }

        TVec factor = TVec.All(call->Scale / sum);
        for (int i = 0; i < n; i += TVec.Width)
        {
            TVec.Store(TVec.Load(logits + i, n - i) * factor, logits + i, n - i);
        }

        logits[target] -= call->Scale;
    }

    static float MaxOfRow<TVec>(float* x, int n) where TVec : struct, IVec<TVec>
    {
        TVec even = TVec.All(float.NegativeInfinity), odd = even;
        int i = 0;
        for (; i + (2 * TVec.Width) <= n; i += 2 * TVec.Width)
        {
            even = TVec.Max(even, TVec.Load(x + i));
            odd = TVec.Max(odd, TVec.Load(x + i + TVec.Width));
        }

        for (; i < n; i += TVec.Width)
        {
            even = TVec.Max(even, TVec.First(TVec.Load(x + i, n - i), even, n - i));
        }

        return TVec.MaxOf(TVec.Max(even, odd));
    }

    static float ExponentialsOfRow<TVec>(float* x, int n, float max, bool keep) where TVec : struct, IVec<TVec>
    {
        TVec sum = TVec.All(0f), shift = TVec.All(max);
        for (int i = 0; i < n; i += TVec.Width)
        {
            TVec e = TVec.First(VectorMath.Exp(TVec.Load(x + i, n - i) - shift), TVec.All(0f), n - i);
            sum += e;
            if (keep)
            {
                TVec.Store(e, x + i, n - i);
            }
        }

        return TVec.Sum(sum);
    }
}
