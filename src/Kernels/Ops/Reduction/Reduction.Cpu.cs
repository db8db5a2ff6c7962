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
        double total = 0;
        if (call->RowsPerItem == 0)
        {
            long start = (long)item * ReductionBlock;
            total = TVec.SumOf(At(call->X, start), (int)Math.Min(ReductionBlock, call->X.Count - start), call->Squares);
        }
        else
        {
            int first = item * call->RowsPerItem;
            for (int row = first; row < Math.Min(first + call->RowsPerItem, call->X.Rows); row++)
            {
                total += TVec.SumOf(RowOf(call->X, row), call->X.Columns, call->Squares);
            }
        }

        call->Partials[item] = total;
    }
}
