// c = alpha * op(a) * op(b) + beta * c in single precision: rows of c are split over the team.
// Invariant: every element of c is one chain of fused multiply-adds over k in rising order, whatever the shape or thread count.
using System.Numerics;

namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    struct ProductTask
    {
        public float* A, B, C;
        public long RowStepA, StepA, RowStepB, StepB;
        public int StrideC, N, K;
        public float Alpha, Beta;
    }

    /// <inheritdoc cref="IOps.MatrixProduct"/>
    public void MatrixProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta)
    {
        (int m, int k) = transposeA ? (a.Columns, a.Rows) : (a.Rows, a.Columns);
        (int kOfB, int n) = transposeB ? (b.Columns, b.Rows) : (b.Rows, b.Columns);
        if (k != kOfB || c.Rows != m || c.Columns != n)
        {
            throw new ArgumentException($"product of op(a) [{m}, {k}] and op(b) [{kOfB}, {n}] into c {c}: the inner sizes and c must fit");
        }

        ProductTask task = new()
        {
            A = (float*)a.Address,
            B = (float*)b.Address,
            C = (float*)c.Address,
            RowStepA = transposeA ? 1 : a.Stride,
            StepA = transposeA ? a.Stride : 1,
            RowStepB = transposeB ? 1 : b.Stride,
            StepB = transposeB ? b.Stride : 1,
            StrideC = c.Stride,
            N = n,
            K = k,
            Alpha = alpha,
            Beta = beta,
        };
        _team.Run(m, &task, &ProductRow);
    }

    static void ProductRow(void* state, int row)
    {
        ProductTask* task = (ProductTask*)state;
        float* a = task->A + (row * task->RowStepA), c = task->C + ((long)row * task->StrideC);
        int width = Vector<float>.Count, column = 0;
        for (; task->StepB == 1 && column + width <= task->N; column += width)
        {
            Vector<float> sum = Vector<float>.Zero;
            for (int k = 0; k < task->K; k++)
            {
                sum = Vector.FusedMultiplyAdd(new Vector<float>(a[k * task->StepA]), Vector.Load(task->B + (k * task->RowStepB) + column), sum);
            }

            Vector<float> result = task->Alpha * sum;
            (task->Beta == 0 ? result : result + (task->Beta * Vector.Load(c + column))).Store(c + column);
        }

        for (; column < task->N; column++)
        {
            float sum = 0;
            float* b = task->B + (column * task->StepB);
            for (int k = 0; k < task->K; k++)
            {
                sum = float.FusedMultiplyAdd(a[k * task->StepA], b[k * task->RowStepB], sum);
            }

            c[column] = task->Beta == 0 ? task->Alpha * sum : (task->Alpha * sum) + (task->Beta * c[column]);
        }
    }
}
