// c = alpha * op(a) * op(b) + beta * c, packed (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication").
// The team packs op(a) into shared panels, then shares out tiles of c: who takes a tile packs the few panels of op(b) that
// it needs into its own second-level cache and streams the panels of op(a) past them. Two runs of the team a block of k.
// Invariant: an element of c is a sum over blocks of k, whose bounds depend on K alone, of chains of fused multiply-adds in
// rising k. Neither threads, nor M, N, strides, transposes or the vector width change a bit of it.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cpu.Gemm;

/// <summary>Where an operand's element (outer, k) lies: Address[outer*OuterStep + k*InnerStep]; one of the steps is 1.</summary>
readonly unsafe record struct Operand(nint Address, nint OuterStep, nint InnerStep)
{
    public float* At(nint outer, nint k) => (float*)Address + (outer * OuterStep) + (k * InnerStep);
}

/// <summary>The matrix product of one device; owns the packing memory, allocated once.</summary>
sealed unsafe class PackedProduct : IDisposable
{
    /// <summary>Most steps of k in a block: the panel of b of 512 x 32 singles is 64 KiB.</summary>
    const int BlockK = 512;
    const int RowsAtOnce = 2048, ColumnsAtOnce = 256, PanelsAtOnce = 16;

    readonly ThreadTeam _team;
    readonly MicrokernelSet _tiles;
    readonly float* _packedA;
    readonly float* _packedB;
    readonly nint _memberFloats;

    public PackedProduct(ThreadTeam team, VectorPath path)
    {
        _team = team;
        _tiles = new MicrokernelSet(path);
        nint panelsA = (nint)DivideUp(RowsAtOnce, _tiles.Rows) * PanelStride(BlockK, _tiles.Rows);
        _memberFloats = ((nint)DivideUp(ColumnsAtOnce, _tiles.Columns) * PanelStride(BlockK, _tiles.Columns)) + (_tiles.Rows * _tiles.Columns);
        _packedA = (float*)NativeMemory.AlignedAlloc((nuint)(panelsA * sizeof(float)), 4096);
        _packedB = (float*)NativeMemory.AlignedAlloc((nuint)(_memberFloats * team.Count * sizeof(float)), 4096);
    }

    struct Block
    {
        public Operand A, B;
        public float* C, PackedA, PackedB;
        public nint StrideC, PanelA, PanelB, MemberFloats;
        public int Rows, N, FirstK, K, PanelsAnItem, GroupColumns, ColumnGroups, GroupRows;
        public float Alpha, Beta;
        public MicrokernelSet Tiles;
    }

    /// <summary>c[m, n] with rows <paramref name="strideC"/> apart. Inputs are checked by the caller.</summary>
    public void Run(Operand a, Operand b, float* c, nint strideC, int m, int n, int k, float alpha, float beta)
    {
        int blocks = Math.Max(1, DivideUp(k, BlockK)), blockK = Math.Max(1, DivideUp(DivideUp(k, blocks), 16)) * 16;
        for (int firstRow = 0; firstRow < m; firstRow += RowsAtOnce)
        {
            int rows = Math.Min(RowsAtOnce, m - firstRow);
            for (int firstK = 0; firstK == 0 || firstK < k; firstK += blockK)
            {
                Block block = new()
                {
                    A = a with { Address = (nint)a.At(firstRow, 0) },
                    B = b,
                    C = c + (firstRow * strideC),
                    StrideC = strideC,
                    PackedA = _packedA,
                    PackedB = _packedB,
                    MemberFloats = _memberFloats,
                    Rows = rows,
                    N = n,
                    FirstK = firstK,
                    K = Math.Min(blockK, k - firstK),
                    Alpha = alpha,
                    Beta = firstK == 0 ? beta : 1,
                    Tiles = _tiles,
                };
                RunBlock(ref block);
            }
        }
    }

    void RunBlock(ref Block block)
    {
        int panels = DivideUp(block.Rows, _tiles.Rows);
        block.PanelA = PanelStride(block.K, _tiles.Rows);
        block.PanelB = PanelStride(block.K, _tiles.Columns);
        block.PanelsAnItem = Math.Clamp(panels / (4 * _team.Count), 1, PanelsAtOnce);
        ShareOut(ref block);
        fixed (Block* state = &block)
        {
            _team.Run(DivideUp(panels, block.PanelsAnItem), state, &PackA);
            _team.Run(block.ColumnGroups * DivideUp(block.Rows, block.GroupRows), state, &Multiply);
        }
    }

    /// <summary>Cuts c into tiles: wide enough to use a packed panel of a several times, enough of them to share evenly.</summary>
    void ShareOut(ref Block block)
    {
        int wanted = _team.Count == 1 ? 1 : 4 * _team.Count;
        int panels = DivideUp(block.N, _tiles.Columns), widest = ColumnsAtOnce / _tiles.Columns;
        int width = Math.Clamp(panels / wanted, 1, widest);
        block.GroupColumns = width * _tiles.Columns;
        block.ColumnGroups = DivideUp(panels, width);
        int rowGroups = Math.Clamp(DivideUp(wanted, block.ColumnGroups), 1, DivideUp(block.Rows, 8 * _tiles.Rows));
        block.GroupRows = DivideUp(DivideUp(block.Rows, rowGroups), _tiles.Rows) * _tiles.Rows;
    }

    static void PackA(void* state, int item)
    {
        Block* block = (Block*)state;
        int width = block->Tiles.Rows, firstPanel = item * block->PanelsAnItem, first = firstPanel * width;
        int count = Math.Min(block->PanelsAnItem * width, block->Rows - first);
        float* to = block->PackedA + (firstPanel * block->PanelA);
        Pack(block->A, first, count, block->FirstK, block->K, to, width, block->PanelA);
    }

    static void Pack(Operand operand, int first, int count, int firstK, int k, float* panels, int width, nint panelStride)
    {
        if (operand.OuterStep == 1)
        {
            Packing.FromColumns(operand.At(first, firstK), operand.InnerStep, count, k, panels, width, panelStride);
            return;
        }

        for (int lane = 0; lane < count; lane += width, panels += panelStride)
        {
            Packing.FromRows(operand.At(first + lane, firstK), operand.OuterStep, Math.Min(width, count - lane), k, panels, width);
        }
    }

    static void Multiply(void* state, int item, int member)
    {
        Block* block = (Block*)state;
        int rowsOfPanel = block->Tiles.Rows, columnsOfPanel = block->Tiles.Columns;
        int firstColumn = item % block->ColumnGroups * block->GroupColumns, firstRow = item / block->ColumnGroups * block->GroupRows;
        int columns = Math.Min(block->GroupColumns, block->N - firstColumn), endRow = Math.Min(firstRow + block->GroupRows, block->Rows);
        float* packedB = block->PackedB + (member * block->MemberFloats);
        float* edge = packedB + block->MemberFloats - (rowsOfPanel * columnsOfPanel);
        Pack(block->B, firstColumn, columns, block->FirstK, block->K, packedB, columnsOfPanel, block->PanelB);
        for (int row = firstRow; row < endRow; row += rowsOfPanel)
        {
            float* panelA = block->PackedA + (row / rowsOfPanel * block->PanelA), panelB = packedB;
            int rows = Math.Min(rowsOfPanel, endRow - row);
            float* c = block->C + (row * block->StrideC) + firstColumn;
            int column = 0;
            for (; column + columnsOfPanel <= columns; column += columnsOfPanel, panelB += block->PanelB)
            {
                block->Tiles.Run(rows, block->K, panelA, rowsOfPanel, panelB, columnsOfPanel, c + column, block->StrideC, block->Alpha, block->Beta);
            }

            if (column < columns)
            {
                if (block->Beta != 0)
                {
                    Copy(c + column, block->StrideC, edge, columnsOfPanel, rows, columns - column);
                }

                block->Tiles.Run(rows, block->K, panelA, rowsOfPanel, panelB, columnsOfPanel, edge, columnsOfPanel, block->Alpha, block->Beta);
                Copy(edge, columnsOfPanel, c + column, block->StrideC, rows, columns - column);
            }
        }
    }

    static void Copy(float* source, nint sourceStride, float* destination, nint destinationStride, int rows, int columns)
    {
        for (int row = 0; row < rows; row++)
        {
            new ReadOnlySpan<float>(source + (row * sourceStride), columns).CopyTo(new Span<float>(destination + (row * destinationStride), columns));
        }
    }

    public static nint PanelStride(int k, int width) => DivideUp((k * width) + Packing.Overrun, 16) * 16;

    static int DivideUp(int value, int by) => (value + by - 1) / by;

    public void Dispose()
    {
        NativeMemory.AlignedFree(_packedA);
        NativeMemory.AlignedFree(_packedB);
    }
}
