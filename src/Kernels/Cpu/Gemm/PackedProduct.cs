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
    const int RowsAtOnce = 2048, ColumnsAtOnce = 2048, PanelsAtOnce = 16, StepsAtOnce = 64;

    readonly ThreadTeam _team;
    readonly MicrokernelSet _tiles;
    readonly float* _packedA;
    readonly float* _packedB;
    readonly float* _edges;

    public PackedProduct(ThreadTeam team, VectorPath path)
    {
        _team = team;
        _tiles = new MicrokernelSet(path);
        long bytesA = DivideUp(RowsAtOnce, _tiles.Rows) * PanelStride(BlockK, _tiles.Rows) * sizeof(float);
        long bytesB = Math.Max(team.Count, DivideUp(ColumnsAtOnce, _tiles.Columns)) * PanelStride(BlockK, _tiles.Columns) * sizeof(float);
        long edgeBytes = team.Count * EdgeFloats * sizeof(float);
        _packedA = (float*)CpuMemory.Allocate(bytesA);
        _packedB = (float*)CpuMemory.Allocate(bytesB);
        _edges = (float*)CpuMemory.Allocate(edgeBytes);
        Bytes = bytesA + bytesB + edgeBytes;
    }

    /// <summary>Memory of the packed panels and of the tiles at edges.</summary>
    public long Bytes { get; }

    int EdgeFloats => _tiles.Rows * _tiles.Columns;

    /// <summary>One operand's part of a block, and how packing it is shared out.</summary>
    struct Side
    {
        public Operand Source;
        public float* Packed;
        public nint PanelStride;
        public int Count, Panels, Width, PanelsAnItem, StepsAnItem, ItemsOverK, Items;

        public Side(Operand source, int count, int k, float* packed, int width, int members)
        {
            (Source, Count, Width) = (source, count, width);
            Packed = packed;
            Panels = DivideUp(count, width);
            PanelStride = PackedProduct.PanelStride(k, width);
            // reading should follow the source's lines: many panels and few steps of k where k steps over rows, else all of k
            PanelsAnItem = source.OuterStep == 1 ? PanelsAtOnce : Math.Clamp(Panels / (4 * members), 1, PanelsAtOnce);
            StepsAnItem = source.OuterStep == 1 ? StepsAtOnce : k;
            ItemsOverK = Math.Max(1, DivideUp(k, Math.Max(1, StepsAnItem)));
            Items = DivideUp(Panels, PanelsAnItem) * ItemsOverK;
        }

        public readonly float* Panel(int index) => Packed + (index * PanelStride);

        /// <summary>Writes steps [start, start + k) of the block of k that begins at <paramref name="firstK"/> into panels from <paramref name="to"/> on.</summary>
        public readonly void Pack(int firstPanel, int panelCount, int firstK, int start, int k, float* to)
        {
            to += start * Width;
            int first = firstPanel * Width, count = Math.Min(panelCount * Width, Count - first);
            if (Source.OuterStep == 1)
            {
                Packing.FromColumns(Source.At(first, firstK + start), Source.InnerStep, count, k, to, Width, PanelStride);
                return;
            }

            for (int lane = 0; lane < count; lane += Width, to += PanelStride)
            {
                Packing.FromRows(Source.At(first + lane, firstK + start), Source.OuterStep, Math.Min(Width, count - lane), k, to, Width);
            }
        }
    }

    struct Block
    {
        public Side A, B;
        public float* C, Edges;
        public nint StrideC;
        public int FirstK, K, GroupPanels, PackItemsA;
        public float Alpha, Beta;
        public MicrokernelSet Tiles;

        /// <summary>One panel of rows: whoever takes a group of columns packs it too, always into the same few panels of its own.</summary>
        public readonly bool PacksWhereUsed => A.Panels == 1;
    }

    /// <summary>c[m, n] with rows <paramref name="strideC"/> apart. Inputs are checked by the caller.</summary>
    public void Run(Operand a, Operand b, float* c, nint strideC, int m, int n, int k, float alpha, float beta)
    {
        int blockK = PartOf(k, BlockK, 16), blockN = PartOf(n, ColumnsAtOnce, _tiles.Columns), blockM = PartOf(m, RowsAtOnce, _tiles.Rows);
        for (int firstRow = 0; firstRow < m; firstRow += blockM)
        {
            for (int firstK = 0; firstK == 0 || firstK < k; firstK += blockK)
            {
                int steps = Math.Min(blockK, k - firstK);
                Side left = new(a with { Address = (nint)a.At(firstRow, 0) }, Math.Min(blockM, m - firstRow), steps, _packedA, _tiles.Rows, _team.Count);
                for (int firstColumn = 0; firstColumn < n; firstColumn += blockN)
                {
                    Block block = new()
                    {
                        A = left,
                        B = new(b with { Address = (nint)b.At(firstColumn, 0) }, Math.Min(blockN, n - firstColumn), steps, _packedB, _tiles.Columns, _team.Count),
                        C = c + (firstRow * strideC) + firstColumn,
                        Edges = _edges,
                        StrideC = strideC,
                        FirstK = firstK,
                        K = steps,
                        PackItemsA = firstColumn == 0 ? left.Items : 0,
                        Alpha = alpha,
                        Beta = firstK == 0 ? beta : 1,
                        Tiles = _tiles,
                    };
                    RunBlock(&block);
                }
            }
        }
    }

    /// <summary>The whole in equal parts of at most <paramref name="most"/>, rounded up to multiples of <paramref name="unit"/>.</summary>
    static int PartOf(int whole, int most, int unit) =>
        Math.Max(1, DivideUp(DivideUp(whole, Math.Max(1, DivideUp(whole, most))), unit)) * unit;

    void RunBlock(Block* block)
    {
        int panels = block->B.Panels, widest = (int)Math.Max(1, GroupFloats / block->B.PanelStride);
        block->GroupPanels = block->PacksWhereUsed ? Math.Clamp(panels / (4 * _team.Count), 1, widest) : DivideUp(panels, DivideUp(panels, widest));
        _team.Run(block->PackItemsA + (block->PacksWhereUsed ? 0 : block->B.Items), block, &Pack);
        _team.Run(DivideUp(panels, block->GroupPanels) * block->A.Panels, block, &Multiply);
    }

    static void Pack(void* state, int item)
    {
        Block* block = (Block*)state;
        Side* side = item < block->PackItemsA ? &block->A : &block->B;
        int index = item < block->PackItemsA ? item : item - block->PackItemsA, start = index % side->ItemsOverK * side->StepsAnItem;
        int panel = index / side->ItemsOverK * side->PanelsAnItem;
        side->Pack(panel, side->PanelsAnItem, block->FirstK, start, Math.Min(side->StepsAnItem, block->K - start), side->Panel(panel));
    }

    static void Multiply(void* state, int item, int member)
    {
        Block* block = (Block*)state;
        int width = block->B.Width, firstPanel = item / block->A.Panels * block->GroupPanels, rowPanel = item % block->A.Panels;
        float* panelB = block->B.Panel(block->PacksWhereUsed ? member * block->GroupPanels : firstPanel);
        if (block->PacksWhereUsed)
        {
            block->B.Pack(firstPanel, block->GroupPanels, block->FirstK, 0, block->K, panelB);
        }

        int firstRow = rowPanel * block->A.Width, rows = Math.Min(block->A.Width, block->A.Count - firstRow);
        int endColumn = Math.Min((firstPanel + block->GroupPanels) * width, block->B.Count);
        float* panelA = block->A.Panel(rowPanel), c = block->C + (firstRow * block->StrideC);
        for (int column = firstPanel * width; column < endColumn; column += width, panelB += block->B.PanelStride)
        {
            if (column + width <= endColumn)
            {
                Prefetch(c + column, block->StrideC, rows, width);
                block->Tiles.Run(rows, block->K, panelA, block->A.Width, panelB, width, c + column, block->StrideC, block->Alpha, block->Beta);
            }
            else
            {
                MultiplyEdge(block, panelA, panelB, c + column, rows, endColumn - column, block->Edges + (member * block->A.Width * width));
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
        int width = block->B.Width;
        if (block->Beta != 0)
        {
            Copy(c, block->StrideC, edge, width, rows, columns);
        }

        block->Tiles.Run(rows, block->K, panelA, block->A.Width, panelB, width, edge, width, block->Alpha, block->Beta);
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
