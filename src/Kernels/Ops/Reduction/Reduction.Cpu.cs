// Reductions on the CPU: an item sums one fixed block in double, lane by lane; the block sums are then added in order.
// Traffic: 4 bytes an element.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int ReductionBlock = 16384;

    struct ReductionCall
    {
        public Tensor X;
        public bool Squares;
        public int RowsPerItem;
        public double* Partials;
    }

    public void SumOfSquares(Tensor x, Tensor results, int index)
    {
        CheckReduction(x, results, index);
        Reduce(x, true, results, index);
    }

    public void Sum(Tensor x, Tensor results, int index)
    {
        CheckReduction(x, results, index);
        Reduce(x, false, results, index);
    }

    static void CheckReduction(Tensor x, Tensor results, int index)
    {
        Shape.IsType(x, ElementType.Float32);
        Shape.IsType(results, ElementType.Float64);
        Shape.Holds(results.IsContiguous && index >= 0 && index < results.Count, "an element at the index, without gaps", results);
    }

    void Reduce(Tensor x, bool squares, Tensor results, int index)
    {
        ReductionCall call = new() { X = x, Squares = squares };
        if (!x.IsContiguous)
        {
            call.RowsPerItem = Math.Max(1, ReductionBlock / x.Columns);
        }

        int items = x.IsContiguous ? DivideUp(x.Count, ReductionBlock) : DivideUp(x.Rows, call.RowsPerItem);
        call.Partials = (double*)Workspace(8L * items);
        Run(items, &call, &ReduceItem<Vec128>, &ReduceItem<Vec256>, &ReduceItem<Vec512>);
        double total = 0;
        for (int item = 0; item < items; item++)
        {
            total += call.Partials[item];
        }

        ((double*)results.Address)[index] = total;
    }

    static void ReduceItem<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        ReductionCall* call = (ReductionCall*)state;
        double* sums = stackalloc double[64];
        new Span<double>(sums, 64).Clear();
        if (call->RowsPerItem == 0)
        {
            long start = (long)item * ReductionBlock;
            ReduceRow<TVec>(At(call->X, start), (int)Math.Min(ReductionBlock, call->X.Count - start), call->Squares, sums);
        }
        else
        {
            int first = item * call->RowsPerItem;
            for (int row = first; row < Math.Min(first + call->RowsPerItem, call->X.Rows); row++)
            {
                ReduceRow<TVec>(RowOf(call->X, row), call->X.Columns, call->Squares, sums);
            }
        }

        double total = 0;
        for (int i = 0; i < 64; i++)
        {
            total += sums[i];
        }

        call->Partials[item] = total;
    }

    // four sets of sums, so that an addition does not wait for the one before
    static void ReduceRow<TVec>(float* x, int n, bool squares, double* sums) where TVec : struct, IVec<TVec>
    {
        int set = 0;
        for (int i = 0; i < n; i += TVec.Width, set = (set + 16) & 63)
        {
            TVec.AddTo(TVec.Load(x + i, n - i), squares, sums + set);
        }
    }
}
