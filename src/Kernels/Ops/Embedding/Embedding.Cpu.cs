// Embedding on the CPU. Forward copies rows. Backward is split by columns: an item walks all rows in order and adds its
// columns, so rows that share an id are added in their order whoever does it. Traffic in bytes an element: forward 8, backward 12.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int EmbeddingRows = 32;
    const int EmbeddingColumns = 256;

    struct EmbeddingCall
    {
        public int* Ids;
        public Tensor Table, Rows;
    }

    public void EmbeddingForward(Tensor ids, Tensor table, Tensor output)
    {
        Shape.IsVector(ids, ElementType.Int32, output.Rows);
        Shape.IsType(table, ElementType.Float32);
        Shape.Is(output, ElementType.Float32, output.Rows, table.Columns);
        EmbeddingCall call = new() { Ids = (int*)ids.Address, Table = table, Rows = output };
        _team.Run(DivideUp(output.Rows, EmbeddingRows), &call, &EmbeddingCopy);
    }

    public void EmbeddingBackward(Tensor ids, Tensor gradOutput, Tensor gradTable)
    {
        Shape.IsVector(ids, ElementType.Int32, gradOutput.Rows);
        Shape.IsType(gradTable, ElementType.Float32);
        Shape.Is(gradOutput, ElementType.Float32, gradOutput.Rows, gradTable.Columns);
        EmbeddingCall call = new() { Ids = (int*)ids.Address, Table = gradTable, Rows = gradOutput };
        Run(DivideUp(gradTable.Columns, EmbeddingColumns), &call, &EmbeddingScatter<Vec128>, &EmbeddingScatter<Vec256>, &EmbeddingScatter<Vec512>);
    }

    static void EmbeddingCopy(void* state, int item)
    {
        EmbeddingCall* call = (EmbeddingCall*)state;
        long bytes = 4L * call->Table.Columns;
        int first = item * EmbeddingRows;
        for (int row = first; row < Math.Min(first + EmbeddingRows, call->Rows.Rows); row++)
        {
            Buffer.MemoryCopy(RowOf(call->Table, call->Ids[row]), RowOf(call->Rows, row), bytes, bytes);
        }
    }

    static void EmbeddingScatter<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        EmbeddingCall* call = (EmbeddingCall*)state;
        int start = item * EmbeddingColumns;
        int n = Math.Min(EmbeddingColumns, call->Table.Columns - start);
        for (int row = 0; row < call->Rows.Rows; row++)
        {
            float* source = RowOf(call->Rows, row) + start;
            float* destination = RowOf(call->Table, call->Ids[row]) + start;
            for (int i = 0; i < n; i += TVec.Width)
            {
                TVec.Store(TVec.Load(destination + i, n - i) + TVec.Load(source + i, n - i), destination + i, n - i);
            }
        }
    }
}
