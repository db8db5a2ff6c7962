// Element-by-element kernels over up to four views of one shape. Views without gaps are walked as one long row in blocks of
// 16384 elements (four blocks fit a second-level cache); others row by row.
namespace OrionNative.Kernels.Cpu;

/// <summary>What an element-by-element kernel does with n elements of its operands; constants point to its own structure.</summary>
unsafe interface IMap
{
    static abstract void Row<TVec>(float* a, float* b, float* c, float* d, int n, void* constants) where TVec : struct, IVec<TVec>;
}

sealed unsafe partial class CpuOps
{
    const int MapBlock = 16384;

    struct MapCall
    {
        public Tensor A, B, C, D;
        public void* Constants;
        public long Flat;
        public int RowsPerItem;
    }

    /// <summary>Runs TMap over views of one shape, which the caller has checked.</summary>
    void Map<TMap>(Tensor a, Tensor b = default, Tensor c = default, Tensor d = default, void* constants = null) where TMap : IMap
    {
        bool flat = a.IsContiguous && b.IsContiguous && c.IsContiguous && d.IsContiguous;
        MapCall call = new() { A = a, B = b, C = c, D = d, Constants = constants };
        int items;
        if (flat)
        {
            call.Flat = a.Count;
            items = DivideUp(a.Count, MapBlock);
        }
        else
        {
            call.RowsPerItem = Math.Max(1, MapBlock / a.Columns);
            items = DivideUp(a.Rows, call.RowsPerItem);
        }

        Run(items, &call, &MapItem<TMap, Vec128>, &MapItem<TMap, Vec256>, &MapItem<TMap, Vec512>);
    }

    static void MapItem<TMap, TVec>(void* state, int item) where TMap : IMap where TVec : struct, IVec<TVec>
    {
        MapCall* call = (MapCall*)state;
        if (call->Flat > 0)
        {
            long start = (long)item * MapBlock;
            TMap.Row<TVec>(At(call->A, start), At(call->B, start), At(call->C, start), At(call->D, start),
                (int)Math.Min(MapBlock, call->Flat - start), call->Constants);
            return;
        }

        int first = item * call->RowsPerItem;
        for (int row = first; row < Math.Min(first + call->RowsPerItem, call->A.Rows); row++)
        {
            TMap.Row<TVec>(RowOf(call->A, row), RowOf(call->B, row), RowOf(call->C, row), RowOf(call->D, row),
                call->A.Columns, call->Constants);
        }
    }

    static float* At(Tensor tensor, long element) => (float*)(tensor.Address + (nint)(element * tensor.ElementBytes));

    static float* RowOf(Tensor tensor, int row) => At(tensor, (long)row * tensor.Stride);
}
