// Attention backward with keys in the lanes: per block of keys, over the blocks of queries that see it,
//   S = Q*K^T    P = exp(scale*S - L)    dV += P^T*dO    dP = dO*V^T    dS = scale*P*(dP - delta)    dK += dS^T*Q    dQ += dS*K
// with L the log-sum-exp of forward and delta = sum(dO*O) of the query. An item is a (sequence, key-value head): dK and dV stay in
// its scratch while their block is current, dQ is added to memory in the order of the key blocks, so every sum has one order.
// A block is 96 keys, a multiple of the tile width of every vector path: 32, 24 and 12. FLOP: 10*T*T/2*D a head.
using OrionNative.Kernels.Cpu.Gemm;

namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int BackwardKeys = 96, BackwardQueries = 64;

    struct AttentionBackwardCall
    {
        public AttentionShape Shape;
        public float* Qkv, Output, GradOutput, LogSumExp, Grad, Delta, Scratch;
        public nint QkvStride, OutputStride, GradOutputStride, LogSumExpStride, GradStride, ScratchFloats;
        public float Scale;
        public MicrokernelSet Tiles;
    }

    /// <summary>One member's memory. "Rows" panels feed the broadcast side of a tile, "Lanes" panels the vector side.</summary>
    ref struct BackwardScratch
    {
        public readonly float* KeysByLane, ValuesByLane, KeyRows, QueriesByRow, GradsByRow, QueryRows, GradRows;
        public readonly float* Scores, Slopes, SlopesByRow, GradKeys, GradValues, GradQueries, End;
        public readonly nint LanePanel, RowPanel, KeyRowPanel, QueryRowPanel, SlopePanel;
        public readonly int PaddedWidth;

        public BackwardScratch(float* memory, MicrokernelSet tiles, int width)
        {
            int widthPanels = DivideUp(width, tiles.Columns), rowPanels = DivideUp(BackwardQueries, tiles.Rows), keyPanels = BackwardKeys / tiles.Columns;
            PaddedWidth = widthPanels * tiles.Columns;
            LanePanel = PackedProduct.PanelStride(width, tiles.Columns);
            RowPanel = PackedProduct.PanelStride(width, tiles.Rows);
            KeyRowPanel = PackedProduct.PanelStride(BackwardKeys, tiles.Columns);
            QueryRowPanel = PackedProduct.PanelStride(BackwardQueries, tiles.Columns);
            SlopePanel = PackedProduct.PanelStride(BackwardKeys, tiles.Rows);
            KeysByLane = memory;
            ValuesByLane = KeysByLane + (keyPanels * LanePanel);
            KeyRows = ValuesByLane + (keyPanels * LanePanel);
            QueriesByRow = KeyRows + (widthPanels * KeyRowPanel);
            GradsByRow = QueriesByRow + (rowPanels * RowPanel);
            QueryRows = GradsByRow + (rowPanels * RowPanel);
            GradRows = QueryRows + (widthPanels * QueryRowPanel);
            Scores = GradRows + (widthPanels * QueryRowPanel);
            Slopes = Scores + (BackwardQueries * BackwardKeys);
            SlopesByRow = Slopes + (BackwardQueries * BackwardKeys);
            GradKeys = SlopesByRow + (rowPanels * SlopePanel);
            GradValues = GradKeys + (BackwardKeys * PaddedWidth);
            GradQueries = GradValues + (BackwardKeys * PaddedWidth);
            End = GradQueries + (BackwardQueries * tiles.Columns);
        }

        public static nint Floats(MicrokernelSet tiles, int width) => (nint)new BackwardScratch(null, tiles, width).End / sizeof(float);
    }

    static void BackwardItem<TVec>(void* state, int item, int member) where TVec : struct, IVec<TVec>
    {
        AttentionBackwardCall* call = (AttentionBackwardCall*)state;
        AttentionShape shape = call->Shape;
        int width = shape.HeadWidth, tokens = shape.Tokens, sequence = item / shape.KeyValueHeads, group = item % shape.KeyValueHeads;
        int headsOfGroup = shape.QueryHeads / shape.KeyValueHeads, firstHead = group * headsOfGroup;
        nint firstRow = (nint)sequence * tokens;
        BackwardScratch scratch = new(call->Scratch + (member * call->ScratchFloats), call->Tiles, width);
        for (int head = firstHead; head < firstHead + headsOfGroup; head++)
        {
            for (int query = 0; query < tokens; query++)
            {
                *DeltaOf(call, sequence, head, query) = DotOfRows<TVec>(
                    call->Output + ((firstRow + query) * call->OutputStride) + (head * width),
                    call->GradOutput + ((firstRow + query) * call->GradOutputStride) + (head * width),
                    width);
            }
        }

        float* keys = call->Qkv + (firstRow * call->QkvStride) + ((shape.QueryHeads + group) * width);
        float* values = keys + (shape.KeyValueHeads * width);
        float* gradKeys = call->Grad + (firstRow * call->GradStride) + ((shape.QueryHeads + group) * width);
        float* gradValues = gradKeys + (shape.KeyValueHeads * width);
        for (int key = 0; key < tokens; key += BackwardKeys)
        {
            int count = Math.Min(BackwardKeys, tokens - key);
            PackKeys(call, in scratch, keys + (key * call->QkvStride), values + (key * call->QkvStride), count);
            new Span<float>(scratch.GradKeys, 2 * BackwardKeys * scratch.PaddedWidth).Clear();
            for (int head = firstHead; head < firstHead + headsOfGroup; head++)
            {
                for (int block = key / BackwardQueries * BackwardQueries; block < tokens; block += BackwardQueries)
                {
                    int query = Math.Max(block, key);
                    BackwardTile<TVec>(call, in scratch, sequence, head, query, Math.Min(block + BackwardQueries, tokens) - query, key, count);
                }
            }

            for (int row = 0; row < count; row++)
            {
                new Span<float>(scratch.GradKeys + (row * scratch.PaddedWidth), width).CopyTo(new Span<float>(gradKeys + ((key + row) * call->GradStride), width));
                new Span<float>(scratch.GradValues + (row * scratch.PaddedWidth), width).CopyTo(new Span<float>(gradValues + ((key + row) * call->GradStride), width));
            }
        }
    }

    static float* DeltaOf(AttentionBackwardCall* call, int sequence, int head, int query) =>
        call->Delta + ((((long)sequence * call->Shape.QueryHeads) + head) * call->Shape.Tokens) + query;

    static float DotOfRows<TVec>(float* a, float* b, int count) where TVec : struct, IVec<TVec>
    {
        TVec sum = TVec.All(0f);
        for (int i = 0; i < count; i += TVec.Width)
        {
            sum = TVec.MultiplyAdd(TVec.Load(a + i, count - i), TVec.Load(b + i, count - i), sum);
        }

        return TVec.Sum(sum);
    }

    static void PackKeys(AttentionBackwardCall* call, in BackwardScratch scratch, float* keys, float* values, int count)
    {
        int lanes = call->Tiles.Columns, width = call->Shape.HeadWidth;
        for (int first = 0; first < count; first += lanes)
        {
            nint panel = first / lanes * scratch.LanePanel;
            Packing.FromRows(keys + (first * call->QkvStride), call->QkvStride, Math.Min(lanes, count - first), width, scratch.KeysByLane + panel, lanes);
            Packing.FromRows(values + (first * call->QkvStride), call->QkvStride, Math.Min(lanes, count - first), width, scratch.ValuesByLane + panel, lanes);
        }

        Packing.FromColumns(keys, call->QkvStride, width, count, scratch.KeyRows, lanes, scratch.KeyRowPanel);
    }

    /// <summary>Queries [query, query + rows) of one head meet keys [key, key + keys), none of which comes after the last query's.</summary>
    static void BackwardTile<TVec>(AttentionBackwardCall* call, in BackwardScratch scratch, int sequence, int head, int query, int rows, int key, int keys)
        where TVec : struct, IVec<TVec>
    {
        MicrokernelSet tiles = call->Tiles;
        AttentionShape shape = call->Shape;
        int width = shape.HeadWidth, lanes = tiles.Columns;
        nint row = ((nint)sequence * shape.Tokens) + query;
        float* queries = call->Qkv + (row * call->QkvStride) + (head * width);
        float* grads = call->GradOutput + (row * call->GradOutputStride) + (head * width);
        keys = Math.Min(keys, query + rows - key);

        for (int first = 0; first < rows; first += tiles.Rows)
        {
            int count = Math.Min(tiles.Rows, rows - first);
            float* queryPanel = scratch.QueriesByRow + (first / tiles.Rows * scratch.RowPanel), gradPanel = scratch.GradsByRow + (first / tiles.Rows * scratch.RowPanel);
            Packing.FromRows(queries + (first * call->QkvStride), call->QkvStride, count, width, queryPanel, tiles.Rows);
            Packing.FromRows(grads + (first * call->GradOutputStride), call->GradOutputStride, count, width, gradPanel, tiles.Rows);
            for (int column = 0; column < keys; column += lanes)
            {
                nint panel = column / lanes * scratch.LanePanel, at = (first * BackwardKeys) + column;
                tiles.Run(count, width, queryPanel, tiles.Rows, scratch.KeysByLane + panel, lanes, scratch.Scores + at, BackwardKeys, call->Scale, 0);
                tiles.Run(count, width, gradPanel, tiles.Rows, scratch.ValuesByLane + panel, lanes, scratch.Slopes + at, BackwardKeys, call->Scale, 0);
            }
        }

        float* logSumExp = call->LogSumExp + ((((nint)sequence * shape.QueryHeads) + head) * call->LogSumExpStride) + query;
        Probabilities<TVec>(scratch.Scores, scratch.Slopes, rows, keys, logSumExp, DeltaOf(call, sequence, head, query), call->Scale, query - key);

        Packing.FromColumns(queries, call->QkvStride, width, rows, scratch.QueryRows, lanes, scratch.QueryRowPanel);
        Packing.FromColumns(grads, call->GradOutputStride, width, rows, scratch.GradRows, lanes, scratch.QueryRowPanel);
        for (int first = 0; first < rows; first += tiles.Rows)
        {
            Packing.FromRows(
                scratch.Slopes + (first * BackwardKeys), BackwardKeys, Math.Min(tiles.Rows, rows - first), keys,
                scratch.SlopesByRow + (first / tiles.Rows * scratch.SlopePanel), tiles.Rows);
        }

        float* gradQueries = call->Grad + (row * call->GradStride) + (head * width);
        for (int column = 0, panel = 0; column < width; column += lanes, panel++)
        {
            float* queryRows = scratch.QueryRows + (panel * scratch.QueryRowPanel), gradRows = scratch.GradRows + (panel * scratch.QueryRowPanel);
            tiles.Run(keys, rows, scratch.Scores, BackwardKeys, gradRows, lanes, scratch.GradValues + column, scratch.PaddedWidth, 1, 1);
            tiles.Run(keys, rows, scratch.Slopes, BackwardKeys, queryRows, lanes, scratch.GradKeys + column, scratch.PaddedWidth, 1, 1);
            // whole tiles of dQ go straight to memory, the edge through scratch: the same additions
            bool whole = column + lanes <= width;
            float* to = whole ? gradQueries + column : scratch.GradQueries;
            nint stride = whole ? call->GradStride : lanes;
            for (int first = 0; first < rows; first += tiles.Rows)
            {
                tiles.Run(
                    Math.Min(tiles.Rows, rows - first), keys, scratch.SlopesByRow + (first / tiles.Rows * scratch.SlopePanel), tiles.Rows,
                    scratch.KeyRows + (panel * scratch.KeyRowPanel), lanes, to + (first * stride), stride, 1, whole && key > 0 ? 1 : 0);
            }

            for (int i = 0; i < rows && !whole; i++)
            {
                AccumulateRow<TVec>(scratch.GradQueries + (i * lanes), gradQueries + (i * call->GradStride) + column, width - column, replace: key == 0);
            }
        }
    }

    /// <summary>scores becomes P and slopes, which holds scale*dP, becomes dS. Query i of the tile sees the keys up to i + offset.</summary>
    static void Probabilities<TVec>(float* scores, float* slopes, int rows, int keys, float* logSumExp, float* delta, float scale, int offset)
        where TVec : struct, IVec<TVec>
    {
        for (int i = 0; i < rows; i++, scores += BackwardKeys, slopes += BackwardKeys)
        {
            TVec shift = TVec.All(logSumExp[i]), mean = TVec.All(delta[i] * scale);
            for (int j = 0; j < keys; j += TVec.Width)
            {
                TVec p = TVec.First(VectorMath.Exp(TVec.Load(scores + j) - shift), TVec.All(0f), offset + i + 1 - j);
                TVec.Store(p, scores + j);
                TVec.Store(p * (TVec.Load(slopes + j) - mean), slopes + j);
            }
        }
    }

    static void AccumulateRow<TVec>(float* source, float* destination, int count, bool replace) where TVec : struct, IVec<TVec>
    {
        for (int i = 0; i < count; i += TVec.Width)
        {
            TVec value = TVec.Load(source + i, count - i);
            TVec.Store(replace ? value : value + TVec.Load(destination + i, count - i), destination + i, count - i);
        }
    }
}
