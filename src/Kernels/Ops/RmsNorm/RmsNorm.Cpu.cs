// RMSNorm on the CPU. A row stays in the first-level cache between its two passes, so memory is read once.
// Traffic in bytes an element: forward 8, add+forward 16, backward 12 (16 when it accumulates).
// The weight's gradient: every item owns a fixed block of rows and one row of partial sums; the partial rows are then added
// in the order of the items.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int NormRows = 16;
    const int NormPartials = 64;
    const int NormColumns = 256;

    struct NormCall
    {
        public Tensor X, Y, Weight, Sum, Output, Rstd, GradOutput, GradX, GradWeight;
        public float Epsilon;
        public bool Accumulate;
        public int RowsPerItem, Items;
        public float* Partials;
    }

    public void RmsNormForward(Tensor x, Tensor weight, Tensor output, Tensor rstd, float epsilon)
    {
        Shape.IsType(x, ElementType.Float32);
        Shape.IsVector(weight, ElementType.Float32, x.Columns);
        Shape.Is(output, ElementType.Float32, x.Rows, x.Columns);
        Shape.IsVector(rstd, ElementType.Float32, x.Rows);
        NormCall call = new() { X = x, Sum = x, Weight = weight, Output = output, Rstd = rstd, Epsilon = epsilon, RowsPerItem = NormRows };
        Run(DivideUp(x.Rows, NormRows), &call, &NormForward<Vec128>, &NormForward<Vec256>, &NormForward<Vec512>);
    }

    public void AddRmsNormForward(Tensor x, Tensor y, Tensor weight, Tensor sum, Tensor output, Tensor rstd, float epsilon)
    {
        Shape.IsType(x, ElementType.Float32);
        Shape.Is(y, ElementType.Float32, x.Rows, x.Columns);
        Shape.IsVector(weight, ElementType.Float32, x.Columns);
        Shape.Is(sum, ElementType.Float32, x.Rows, x.Columns);
        Shape.Is(output, ElementType.Float32, x.Rows, x.Columns);
        Shape.IsVector(rstd, ElementType.Float32, x.Rows);
        NormCall call = new() { X = x, Y = y, Sum = sum, Weight = weight, Output = output, Rstd = rstd, Epsilon = epsilon, RowsPerItem = NormRows };
        Run(DivideUp(x.Rows, NormRows), &call, &NormForward<Vec128>, &NormForward<Vec256>, &NormForward<Vec512>);
    }

    public void RmsNormBackward(Tensor gradOutput, Tensor x, Tensor weight, Tensor rstd, Tensor gradX, bool accumulate, Tensor gradWeight)
    {
        Shape.IsType(x, ElementType.Float32);
        Shape.Is(gradOutput, ElementType.Float32, x.Rows, x.Columns);
        Shape.IsVector(weight, ElementType.Float32, x.Columns);
        Shape.IsVector(rstd, ElementType.Float32, x.Rows);
        Shape.Is(gradX, ElementType.Float32, x.Rows, x.Columns);
        Shape.IsVector(gradWeight, ElementType.Float32, x.Columns);
        Shape.Holds(!accumulate || gradX.Address != gradOutput.Address, "gradX apart from gradOutput when accumulating", gradX);
        int rowsPerItem = Math.Max(NormRows, DivideUp(x.Rows, NormPartials));
        int items = DivideUp(x.Rows, rowsPerItem);
        NormCall call = new()
        {
            X = x,
            Weight = weight,
            Rstd = rstd,
            GradOutput = gradOutput,
            GradX = gradX,
            GradWeight = gradWeight,
            Accumulate = accumulate,
            RowsPerItem = rowsPerItem,
            Items = items,
            Partials = (float*)Workspace(4L * items * x.Columns),
        };
        Run(items, &call, &NormBackward<Vec128>, &NormBackward<Vec256>, &NormBackward<Vec512>);
        Run(DivideUp(x.Columns, NormColumns), &call, &NormGatherWeight<Vec128>, &NormGatherWeight<Vec256>, &NormGatherWeight<Vec512>);
    }

    static void NormForward<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        NormCall* call = (NormCall*)state;
        int n = call->X.Columns;
        int first = item * call->RowsPerItem;
        float* weight = (float*)call->Weight.Address;
        for (int row = first; row < Math.Min(first + call->RowsPerItem, call->X.Rows); row++)
        {
            float* sum = RowOf(call->Sum, row);
            float squares = call->Y.IsEmpty
                ? SquaresOf<TVec>(sum, n)
                : AddAndSquares<TVec>(RowOf(call->X, row), RowOf(call->Y, row), sum, n);
            float rstd = 1f / MathF.Sqrt((squares / n) + call->Epsilon);
            ((float*)call->Rstd.Address)[row] = rstd;
            float* output = RowOf(call->Output, row);
            TVec factor = TVec.All(rstd);
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.Load(sum + i, n - i) * factor * TVec.Load(weight + i, n - i), output + i, n - i);
            }
        }
    }

    static float SquaresOf<TVec>(float* x, int n) where TVec : struct, IVec<TVec>
    {
        TVec even = TVec.All(0f), odd = TVec.All(0f);
        int i = 0;
        for (; i + (2 * TVec.Width) <= n; i += 2 * TVec.Width)
        {
            TVec a = TVec.Load(x + i), b = TVec.Load(x + i + TVec.Width);
            even = TVec.MultiplyAdd(a, a, even);
            odd = TVec.MultiplyAdd(b, b, odd);
        }

        for (; i < n; i += TVec.Width)
        {
            TVec a = TVec.Load(x + i, n - i);
            even = TVec.MultiplyAdd(a, a, even);
        }

        return TVec.Sum(even + odd);
    }

    // the squares are added in the order of SquaresOf: adding inside or before the norm gives the same bits
    static float AddAndSquares<TVec>(float* x, float* y, float* sum, int n) where TVec : struct, IVec<TVec>
    {
        TVec even = TVec.All(0f), odd = TVec.All(0f);
        int i = 0;
        for (; i + (2 * TVec.Width) <= n; i += 2 * TVec.Width)
        {
            TVec a = TVec.Load(x + i) + TVec.Load(y + i), b = TVec.Load(x + i + TVec.Width) + TVec.Load(y + i + TVec.Width);
            even = TVec.MultiplyAdd(a, a, even);
            odd = TVec.MultiplyAdd(b, b, odd);
            TVec.Store(a, sum + i);
            TVec.Store(b, sum + i + TVec.Width);
        }

        for (; i < n; i += TVec.Width)
        {
            TVec a = TVec.Load(x + i, n - i) + TVec.Load(y + i, n - i);
            even = TVec.MultiplyAdd(a, a, even);
            TVec.Store(a, sum + i, n - i);
        }

        return TVec.Sum(even + odd);
    }

    static void NormBackward<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        NormCall* call = (NormCall*)state;
        int n = call->X.Columns;
        int first = item * call->RowsPerItem;
        float* weight = (float*)call->Weight.Address;
        float* partial = call->Partials + ((long)item * n);
        new Span<float>(partial, n).Clear();
        for (int row = first; row < Math.Min(first + call->RowsPerItem, call->X.Rows); row++)
        {
            float* x = RowOf(call->X, row);
            float* dy = RowOf(call->GradOutput, row);
            float* dx = RowOf(call->GradX, row);
            float rstd = ((float*)call->Rstd.Address)[row];
            TVec scale = TVec.All(rstd), pull = TVec.All(-DotOfThree<TVec>(weight, dy, x, n) / n * rstd * rstd);
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec xs = TVec.Load(x + i, n - i), dys = TVec.Load(dy + i, n - i);
                TVec.Store(TVec.MultiplyAdd(dys, xs * scale, TVec.Load(partial + i, n - i)), partial + i, n - i);
                TVec gradient = scale * TVec.MultiplyAdd(xs, pull, TVec.Load(weight + i, n - i) * dys);
                TVec.Store(call->Accumulate ? gradient + TVec.Load(dx + i, n - i) : gradient, dx + i, n - i);
            }
        }
    }

    // two chains of additions, so that one need not wait for the other
    static float DotOfThree<TVec>(float* a, float* b, float* c, int n) where TVec : struct, IVec<TVec>
    {
        TVec even = TVec.All(0f), odd = TVec.All(0f);
        int i = 0;
        for (; i + (2 * TVec.Width) <= n; i += 2 * TVec.Width)
        {
            even = TVec.MultiplyAdd(TVec.Load(a + i) * TVec.Load(b + i), TVec.Load(c + i), even);
            odd = TVec.MultiplyAdd(TVec.Load(a + i + TVec.Width) * TVec.Load(b + i + TVec.Width), TVec.Load(c + i + TVec.Width), odd);
        }

        for (; i < n; i += TVec.Width)
        {
            even = TVec.MultiplyAdd(TVec.Load(a + i, n - i) * TVec.Load(b + i, n - i), TVec.Load(c + i, n - i), even);
        }

        return TVec.Sum(even + odd);
    }

    static void NormGatherWeight<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        NormCall* call = (NormCall*)state;
        int n = call->X.Columns;
        int end = Math.Min((item + 1) * NormColumns, n);
        float* gradient = (float*)call->GradWeight.Address;
        for (int i = item * NormColumns; i < end; i += TVec.Width)
        {
            TVec sum = TVec.Load(gradient + i, end - i);
            for (int k = 0; k < call->Items; k++)
            {
                sum += TVec.Load(call->Partials + ((long)k * n) + i, end - i);
            }

            TVec.Store(sum, gradient + i, end - i);
        }
    }
}
