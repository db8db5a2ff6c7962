// Rotary embedding on the CPU: queries and keys are rotated where they lie. Traffic: 8 bytes an element of q and k, plus the
// table, which a block of rows shares.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int RotaryRows = 16;

    struct RotaryCall
    {
        public Tensor Qkv, Table;
        public int Tokens, Heads, HeadWidth, Start;
        public float Sign;
    }

    public void RotaryTable(Tensor table, double rotaryBase)
    {
        Shape.IsType(table, ElementType.Float32);
        Shape.Holds(table.Columns % 2 == 0, "an even number of columns", table);
        int half = table.Columns / 2;
        for (int position = 0; position < table.Rows; position++)
        {
            float* row = RowOf(table, position);
            for (int i = 0; i < half; i++)
            {
                (double sin, double cos) = Math.SinCos(position * Math.Pow(rotaryBase, -2.0 * i / table.Columns));
                row[i] = (float)cos;
                row[half + i] = (float)sin;
            }
        }
    }

    public void Rotary(Tensor qkv, Tensor table, AttentionShape shape, int startPosition, bool inverse)
    {
        Shape.Is(qkv, ElementType.Float32, shape.Rows, shape.PackedColumns);
        Shape.Is(table, ElementType.Float32, table.Rows, shape.HeadWidth);
        Shape.Holds(shape.HeadWidth % 2 == 0, "an even head width", table);
        Shape.Holds(startPosition >= 0 && startPosition + shape.Tokens <= table.Rows, "a row for every position", table);
        RotaryCall call = new()
        {
            Qkv = qkv,
            Table = table,
            Tokens = shape.Tokens,
            Heads = shape.QueryHeads + shape.KeyValueHeads,
            HeadWidth = shape.HeadWidth,
            Start = startPosition,
            Sign = inverse ? -1f : 1f,
        };
        Run(DivideUp(qkv.Rows, RotaryRows), &call, &RotaryItem<Vec128>, &RotaryItem<Vec256>, &RotaryItem<Vec512>);
    }

    static void RotaryItem<TVec>(void* state, int item) where TVec : struct, IVec<TVec>
    {
        RotaryCall* call = (RotaryCall*)state;
        int half = call->HeadWidth / 2;
        TVec sign = TVec.All(call->Sign);
        int first = item * RotaryRows;
        for (int row = first; row < Math.Min(first + RotaryRows, call->Qkv.Rows); row++)
        {
            float* cosines = RowOf(call->Table, call->Start + (row % call->Tokens));
            float* head = RowOf(call->Qkv, row);
            for (int h = 0; h < call->Heads; h++, head += call->HeadWidth)
            {
                for (int i = 0; i < half; i += TVec.Width)
                {
                    int left = half - i;
                    TVec cos = TVec.Load(cosines + i, left), sin = TVec.Load(cosines + half + i, left) * sign;
                    TVec low = TVec.Load(head + i, left), high = TVec.Load(head + half + i, left);
                    TVec.Store((low * cos) - (high * sin), head + i, left);
                    TVec.Store(TVec.MultiplyAdd(high, cos, low * sin), head + half + i, left);
                }
            }
        }
    }
}
