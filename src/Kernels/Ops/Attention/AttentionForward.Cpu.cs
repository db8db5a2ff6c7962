// Attention forward with queries in the lanes: everything is computed transposed, so that the softmax runs down the keys
// of a block without any sum across lanes, and its result is already packed for the next product.
//   S^T[keys, queries] = scale * K*Q^T     m' = max(m, max S)     P^T = exp(S^T - m')     O^T = O^T*exp(m - m') + V^T*P^T
// An item is a head and a chunk of queries; keys come in blocks of 64, packed once a chunk.
// FLOP: 4*T*T/2*D a head. Exponentials cost about an eighth of that at D = 64.
using OrionNative.Kernels.Cpu.Gemm;

namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int ForwardKeys = 64, ForwardQueries = 256;

    struct AttentionForwardCall
    {
        public AttentionShape Shape;
        public float* Queries, Keys, Values, Output, LogSumExp, Scratch;
        public nint QueryStride, KeyStride, ValueStride, OutputStride, LogSumExpStride, ScratchFloats;
        public int Sequences, QueryCount, Start, Chunks, PanelsAChunk;
        public float Scale;
        public MicrokernelSet Tiles;
    }

    /// <summary>One member's memory: packed keys and values of a block, and per panel of queries Q, S, O, m and l.</summary>
    ref struct ForwardScratch
    {
        public readonly float* Keys, Values, Scores, Panels;
        public readonly nint KeyPanel, ValuePanel, PanelFloats, QueryFloats, OutputFloats;

        public ForwardScratch(float* memory, MicrokernelSet tiles, int width)
        {
            KeyPanel = PackedProduct.PanelStride(width, tiles.Rows);
            ValuePanel = PackedProduct.PanelStride(ForwardKeys, tiles.Rows);
            QueryFloats = PackedProduct.PanelStride(width, tiles.Columns);
            OutputFloats = (nint)width * tiles.Columns;
            PanelFloats = (QueryFloats + OutputFloats + (2 * tiles.Columns) + 15) / 16 * 16;
            Keys = memory;
            Values = Keys + (DivideUp(ForwardKeys, tiles.Rows) * KeyPanel);
            Scores = Values + (DivideUp(width, tiles.Rows) * ValuePanel);
            Panels = Scores + (ForwardKeys * tiles.Columns);
        }

        public static nint Floats(MicrokernelSet tiles, int width, int panels)
        {
            ForwardScratch layout = new(null, tiles, width);
            return (nint)layout.Panels / sizeof(float) + (panels * layout.PanelFloats);
        }

        public readonly float* Query(int panel) => Panels + (panel * PanelFloats);

        public readonly float* Output(int panel) => Query(panel) + QueryFloats;

        public readonly float* Maximum(int panel) => Output(panel) + OutputFloats;
    }

    void RunForward(ref AttentionForwardCall call)
    {
        AttentionForwardCall state = call;
        state.Tiles = _tiles;
        state.Scale = 1 / MathF.Sqrt(call.Shape.HeadWidth);
        state.PanelsAChunk = Math.Min(DivideUp(call.QueryCount, _tiles.Columns), DivideUp(ForwardQueries, _tiles.Columns));
        state.Chunks = DivideUp(call.QueryCount, (long)state.PanelsAChunk * _tiles.Columns);
        state.ScratchFloats = ForwardScratch.Floats(_tiles, call.Shape.HeadWidth, state.PanelsAChunk);
        state.Scratch = (float*)Workspace(sizeof(float) * state.ScratchFloats * _team.Count);
        int items = call.Sequences * call.Shape.QueryHeads * state.Chunks;
        RunMembers(items, &state, &ForwardItem<Vec128>, &ForwardItem<Vec256>, &ForwardItem<Vec512>);
    }

    static void ForwardItem<TVec>(void* state, int item, int member) where TVec : struct, IVec<TVec>
    {
        AttentionForwardCall* call = (AttentionForwardCall*)state;
        AttentionShape shape = call->Shape;
        MicrokernelSet tiles = call->Tiles;
        int width = shape.HeadWidth, lanes = tiles.Columns;
        // the last queries see the most keys: their chunks go first, so that the team ends together
        int heads = call->Sequences * shape.QueryHeads, chunk = call->Chunks - 1 - (item / heads), sequence = item % heads / shape.QueryHeads;
        int head = item % shape.QueryHeads, group = head / (shape.QueryHeads / shape.KeyValueHeads);
        int first = chunk * call->PanelsAChunk * lanes, end = Math.Min(first + (call->PanelsAChunk * lanes), call->QueryCount);
        ForwardScratch scratch = new(call->Scratch + (member * call->ScratchFloats), tiles, width);
        float* queries = call->Queries + ((nint)sequence * call->QueryCount * call->QueryStride) + (head * width);
        float* keys = call->Keys + ((nint)sequence * call->QueryCount * call->KeyStride) + (group * width);
        float* values = call->Values + ((nint)sequence * call->QueryCount * call->ValueStride) + (group * width);

        for (int query = first, panel = 0; query < end; query += lanes, panel++)
        {
            Packing.FromRows(queries + (query * call->QueryStride), call->QueryStride, Math.Min(lanes, end - query), width, scratch.Query(panel), lanes);
            new Span<float>(scratch.Maximum(panel), lanes).Fill(float.NegativeInfinity);
            new Span<float>(scratch.Maximum(panel) + lanes, lanes).Clear();
        }

        int visible = call->Start + end;
        for (int key = 0; key < visible; key += ForwardKeys)
        {
            int count = Math.Min(ForwardKeys, visible - key);
            for (int row = 0; row < count; row += tiles.Rows)
            {
                Packing.FromRows(
                    keys + ((key + row) * call->KeyStride), call->KeyStride, Math.Min(tiles.Rows, count - row), width, scratch.Keys + (row / tiles.Rows * scratch.KeyPanel), tiles.Rows);
            }

            Packing.FromColumns(values + (key * call->ValueStride), call->ValueStride, width, count, scratch.Values, tiles.Rows, scratch.ValuePanel);
            for (int query = first, panel = 0; query < end; query += lanes, panel++)
            {
                int position = call->Start + query, last = call->Start + Math.Min(query + lanes, end) - 1;
                if (key <= last)
                {
                    ForwardTile<TVec>(call, in scratch, panel, position, key, Math.Min(count, last + 1 - key));
                }
            }
        }

        for (int query = first, panel = 0; query < end; query += lanes, panel++)
        {
            long row = ((long)sequence * call->QueryCount) + query;
            float* output = call->Output + ((nint)row * call->OutputStride) + (head * width);
            float* statistics = call->LogSumExp == null ? null
                : call->LogSumExp + ((((nint)sequence * shape.QueryHeads) + head) * call->LogSumExpStride) + query;
            ForwardFinish<TVec>(in scratch, panel, Math.Min(lanes, end - query), lanes, width, output, call->OutputStride, statistics);
        }
    }

    /// <summary>One panel of queries, the first at <paramref name="position"/>, meets <paramref name="count"/> keys from <paramref name="key"/>.</summary>
    static void ForwardTile<TVec>(AttentionForwardCall* call, in ForwardScratch scratch, int panel, int position, int key, int count)
        where TVec : struct, IVec<TVec>
    {
        MicrokernelSet tiles = call->Tiles;
        int lanes = tiles.Columns, width = call->Shape.HeadWidth;
        float* scores = scratch.Scores, output = scratch.Output(panel);
        for (int row = 0; row < count; row += tiles.Rows)
        {
            tiles.Run(
                Math.Min(tiles.Rows, count - row), width, scratch.Keys + (row / tiles.Rows * scratch.KeyPanel), tiles.Rows,
                scratch.Query(panel), lanes, scores + (row * lanes), lanes, call->Scale, 0);
        }

        for (int lane = 0; lane < lanes; lane += TVec.Width)
        {
            // key j is hidden from the lanes whose query comes before it
            for (int j = Math.Max(key, position + lane + 1); j < key + count; j++)
            {
                float* row = scores + ((j - key) * lanes) + lane;
                TVec.Store(TVec.First(TVec.All(float.NegativeInfinity), TVec.Load(row), j - position - lane), row);
            }

            SoftmaxDown<TVec>(scores + lane, lanes, count, scratch.Maximum(panel) + lane, output + lane, key == 0 ? 0 : width);
        }

        for (int row = 0; row < width; row += tiles.Rows)
        {
            tiles.Run(
                Math.Min(tiles.Rows, width - row), count, scratch.Values + (row / tiles.Rows * scratch.ValuePanel), tiles.Rows,
                scores, lanes, output + (row * lanes), lanes, 1, key == 0 ? 0 : 1);
        }
    }

    /// <summary>Turns a column of scores into exponentials; updates maximum and, <paramref name="stride"/> after it, the sum; shrinks the
    /// output rows so far to the new maximum.</summary>
    static void SoftmaxDown<TVec>(float* scores, int stride, int count, float* maximum, float* output, int outputRows)
        where TVec : struct, IVec<TVec>
    {
        TVec old = TVec.Load(maximum), even = old, odd = old;
        int j = 0;
        for (; j + 2 <= count; j += 2)
        {
            even = TVec.Max(even, TVec.Load(scores + (j * stride)));
            odd = TVec.Max(odd, TVec.Load(scores + ((j + 1) * stride)));
        }

        if (j < count)
        {
            even = TVec.Max(even, TVec.Load(scores + (j * stride)));
        }

        TVec top = TVec.Max(even, odd), sum = TVec.All(0f), shrink = VectorMath.Exp(old - top);
        for (j = 0; j < count; j++)
        {
            TVec p = VectorMath.Exp(TVec.Load(scores + (j * stride)) - top);
            sum += p;
            TVec.Store(p, scores + (j * stride));
        }

        TVec.Store(top, maximum);
        TVec.Store(TVec.MultiplyAdd(TVec.Load(maximum + stride), shrink, sum), maximum + stride);
        for (int row = 0; row < outputRows; row++)
        {
            TVec.Store(TVec.Load(output + (row * stride)) * shrink, output + (row * stride));
        }
    }

    static void ForwardFinish<TVec>(in ForwardScratch scratch, int panel, int queries, int lanes, int width, float* output, nint stride, float* logSumExp)
        where TVec : struct, IVec<TVec>
    {
        float* transposed = scratch.Output(panel), maximum = scratch.Maximum(panel), sum = maximum + lanes;
        for (int lane = 0; lane < lanes; lane += TVec.Width)
        {
            TVec unit = TVec.All(1f) / TVec.Load(sum + lane);
            for (int row = 0; row < width; row++)
            {
                TVec.Store(TVec.Load(transposed + (row * lanes) + lane) * unit, transposed + (row * lanes) + lane);
            }
        }

        for (int query = 0; query < queries; query++)
        {
            for (int column = 0; column < width; column++)
            {
                output[(query * stride) + column] = transposed[(column * lanes) + query];
            }

            if (logSumExp != null)
            {
                logSumExp[query] = maximum[query] + MathF.Log(sum[query]);
            }
        }
    }
}
