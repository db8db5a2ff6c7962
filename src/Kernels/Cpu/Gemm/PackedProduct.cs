// c = alpha * op(a) * op(b) + beta * c, packed (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication").
// A block of k takes two runs of the team: one packs op(a) and op(b) into shared panels, one shares out c in pieces of one
// panel of rows by some panels of columns, column group after column group: every second-level cache holds the group's
// panels of op(b), panels of op(a) stream past them, and no thread waits longer than one piece for the others.
// Invariant: an element of c is a sum over blocks of k, whose bounds depend on K alone, of chains of fused multiply-adds in
// rising k. Neither threads, nor M, N, strides, transposes or the vector width change a bit of it.
using System.Runtime.Intrinsics.X86;

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

    /// <summary>Most singles of op(b) that a group of columns has: 384 KiB, well inside a second-level cache of 1 MiB.</summary>
    const int GroupFloats = 98304;
    const int RowsAtOnce = 2048, ColumnsAtOnce = 2048, PanelsAtOnce = 16;

    readonly ThreadTeam _team;
    readonly MicrokernelSet _tiles;
    readonly float* _packedA;
    readonly float* _packedB;
    readonly float* _edges;

    public PackedProduct(ThreadTeam team, VectorPath path)
    {
        _team = team;
        _tiles = new MicrokernelSet(path);
        _packedA = (float*)CpuMemory.Allocate(DivideUp(RowsAtOnce, _tiles.Rows) * PanelStride(BlockK, _tiles.Rows) * sizeof(float));
        _packedB = (float*)CpuMemory.Allocate(DivideUp(ColumnsAtOnce, _tiles.Columns) * PanelStride(BlockK, _tiles.Columns) * sizeof(float));
        _edges = (float*)CpuMemory.Allocate(team.Count * EdgeFloats * sizeof(float));
    }

    int EdgeFloats => _tiles.Rows * _tiles.Columns;

    struct Block
    {
        public Operand A, B;
        public float* C, PackedA, PackedB, Edges;
        public nint StrideC, PanelA, PanelB;
        public int Rows, Columns, FirstK, K, GroupPanels, Groups, RowPanels, PanelsAnItemA, PanelsAnItemB, PackItemsA;
        public float Alpha, Beta;
        public MicrokernelSet Tiles;

        /// <summary>One panel of rows: whoever takes a group of columns packs it too, and nobody else needs it.</summary>
        public readonly bool PacksWhereUsed => RowPanels == 1;
    }

    /// <summary>c[m, n] with rows <paramref name="strideC"/> apart. Inputs are checked by the caller.</summary>
    public void Run(Operand a, Operand b, float* c, nint strideC, int m, int n, int k, float alpha, float beta)
    {
        int blockK = PartOf(k, BlockK, 16), blockN = PartOf(n, ColumnsAtOnce, _tiles.Columns), blockM = PartOf(m, RowsAtOnce, _tiles.Rows);
        for (int firstRow = 0; firstRow < m; firstRow += blockM)
        {
            for (int firstK = 0; firstK == 0 || firstK < k; firstK += blockK)
            {
                for (int firstColumn = 0; firstColumn < n; firstColumn += blockN)
                {
                    Block block = new()
                    {
                        A = a with { Address = (nint)a.At(firstRow, 0) },
                        B = b with { Address = (nint)b.At(firstColumn, 0) },
                        C = c + (firstRow * strideC) + firstColumn,
                        StrideC = strideC,
                        PackedA = _packedA,
                        PackedB = _packedB,
                        Edges = _edges,
                        Rows = Math.Min(blockM, m - firstRow),
                        Columns = Math.Min(blockN, n - firstColumn),
                        FirstK = firstK,
                        K = Math.Min(blockK, k - firstK),
                        Alpha = alpha,
                        Beta = firstK == 0 ? beta : 1,
                        Tiles = _tiles,
                    };
                    RunBlock(ref block, packRows: firstColumn == 0);
                }
            }
        }
    }

    /// <summary>The whole in equal parts of at most <paramref name="most"/>, rounded up to multiples of <paramref name="unit"/>.</summary>
    static int PartOf(int whole, int most, int unit) =>
        Math.Max(1, DivideUp(DivideUp(whole, Math.Max(1, DivideUp(whole, most))), unit)) * unit;

    void RunBlock(ref Block block, bool packRows)
    {
        int columnPanels = DivideUp(block.Columns, _tiles.Columns);
        block.RowPanels = DivideUp(block.Rows, _tiles.Rows);
        block.PanelA = PanelStride(block.K, _tiles.Rows);
        block.PanelB = PanelStride(block.K, _tiles.Columns);
        int widest = (int)Math.Max(1, GroupFloats / block.PanelB);
        block.GroupPanels = block.PacksWhereUsed ? Math.Clamp(columnPanels / (4 * _team.Count), 1, widest) : DivideUp(columnPanels, DivideUp(columnPanels, widest));
        block.Groups = DivideUp(columnPanels, block.GroupPanels);
        block.PanelsAnItemA = Math.Clamp(block.RowPanels / (4 * _team.Count), 1, PanelsAtOnce);
        block.PanelsAnItemB = Math.Clamp(columnPanels / (4 * _team.Count), 1, PanelsAtOnce);
        block.PackItemsA = packRows ? DivideUp(block.RowPanels, block.PanelsAnItemA) : 0;
        int packItemsB = block.PacksWhereUsed ? 0 : DivideUp(columnPanels, block.PanelsAnItemB);
        fixed (Block* state = &block)
        {
            _team.Run(block.PackItemsA + packItemsB, state, &Pack);
            _team.Run(block.Groups * block.RowPanels, state, &Multiply);
        }
    }

    static void Pack(void* state, int item)
    {
        Block* block = (Block*)state;
        if (item < block->PackItemsA)
        {
            Pack(block, block->A, block->Rows, item * block->PanelsAnItemA, block->PanelsAnItemA, block->PackedA, block->Tiles.Rows, block->PanelA);
        }
        else
        {
            PackColumns(block, (item - block->PackItemsA) * block->PanelsAnItemB, block->PanelsAnItemB);
        }
    }

    static void PackColumns(Block* block, int firstPanel, int panels) =>
        Pack(block, block->B, block->Columns, firstPanel, panels, block->PackedB, block->Tiles.Columns, block->PanelB);

    static void Pack(Block* block, Operand operand, int outer, int firstPanel, int panelCount, float* packed, int width, nint panelStride)
    {
        int first = firstPanel * width, count = Math.Min(panelCount * width, outer - first);
        float* panels = packed + (firstPanel * panelStride);
        if (operand.OuterStep == 1)
        {
            Packing.FromColumns(operand.At(first, block->FirstK), operand.InnerStep, count, block->K, panels, width, panelStride);
            return;
        }

        for (int lane = 0; lane < count; lane += width, panels += panelStride)
        {
            Packing.FromRows(operand.At(first + lane, block->FirstK), operand.OuterStep, Math.Min(width, count - lane), block->K, panels, width);
        }
    }

    static void Multiply(void* state, int item, int member)
    {
        Block* block = (Block*)state;
        int width = block->Tiles.Columns, group = item / block->RowPanels, rowPanel = item % block->RowPanels, firstPanel = group * block->GroupPanels;
        if (block->PacksWhereUsed)
        {
            PackColumns(block, firstPanel, block->GroupPanels);
        }

        int firstRow = rowPanel * block->Tiles.Rows, rows = Math.Min(block->Tiles.Rows, block->Rows - firstRow);
        int endColumn = Math.Min((firstPanel + block->GroupPanels) * width, block->Columns);
        float* panelA = block->PackedA + (rowPanel * block->PanelA), panelB = block->PackedB + (firstPanel * block->PanelB);
        float* c = block->C + (firstRow * block->StrideC);
        for (int column = firstPanel * width; column < endColumn; column += width, panelB += block->PanelB)
        {
            if (column + width <= endColumn)
            {
                Prefetch(c + column, block->StrideC, rows, width);
                block->Tiles.Run(rows, block->K, panelA, block->Tiles.Rows, panelB, width, c + column, block->StrideC, block->Alpha, block->Beta);
            }
            else
            {
                MultiplyEdge(block, panelA, panelB, c + column, rows, endColumn - column, block->Edges + (member * block->Tiles.Rows * width));
            }
        }
    }

    /// <summary>Asks for a tile of c, whose lines lie a row apart, so that they are there when k has run.</summary>
    static void Prefetch(float* c, nint stride, int rows, int columns)
    {
        if (Sse.IsSupported)
        {
            for (int row = 0; row < rows; row++, c += stride)
            {
                for (int column = 0; column < columns; column += 16)
                {
                    Sse.Prefetch0(c + column);
                }
            }
        }
    }

    static void MultiplyEdge(Block* block, float* panelA, float* panelB, float* c, int rows, int columns, float* edge)
    {
        int width = block->Tiles.Columns;
        if (block->Beta != 0)
        {
            Copy(c, block->StrideC, edge, width, rows, columns);
        }

        block->Tiles.Run(rows, block->K, panelA, block->Tiles.Rows, panelB, width, edge, width, block->Alpha, block->Beta);
        Copy(edge, width, c, block->StrideC, rows, columns);
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
        CpuMemory.Free(_packedA);
        CpuMemory.Free(_packedB);
        CpuMemory.Free(_edges);
    }
}
