// Every operation once with shapes large enough to be split over threads and awkward enough to have tails. Laws that hold for
// all operations (same bits for any thread count, no allocation) run over this table; a new operation gets one line here.
namespace OrionNative.Kernels.Tests.Support;

static class OpCases
{
    /// <summary>Operation to what prepares it: the call, and the memory that it writes.</summary>
    public static IReadOnlyDictionary<string, Func<Workbench, (Action Call, Tensor[] Written)>> All { get; } =
        new Dictionary<string, Func<Workbench, (Action, Tensor[])>>
        {
            ["MatrixProduct"] = b =>
            {
                (Tensor x, Tensor y, Tensor z) = (Random(b, 133, 70), Random(b, 91, 70), Random(b, 133, 91));
                return (() => b.Ops.MatrixProduct(x, false, y, true, z, 1, 0.5f), [z]);
            },
            ["AttentionForward"] = b => Attention(b, backward: false),
            ["AttentionBackward"] = b => Attention(b, backward: true),
            ["AttentionCached"] = b =>
            {
                AttentionShape shape = new(1, 3, 4, 2, 16);
                Tensor qkv = Random(b, 3, shape.PackedColumns), keys = Random(b, 40, 32), values = Random(b, 40, 32), output = b.Unwritten(3, 64);
                return (() => b.Ops.AttentionCached(qkv, keys, values, 33, output, shape), [keys, values, output]);
            },
            ["Classifier"] = b =>
            {
                Tensor hidden = Random(b, 300, 40), head = Random(b, 131, 40), losses = b.UnwrittenSingle(300, 1), ids = b.Int32(b.Ids(300, 131));
                Tensor gradHidden = b.Unwritten(300, 40), gradHead = RandomSingle(b, 131, 40);
                nint scratch = b.Scratch(b.Ops.ClassifierBytes(300, 40, 131));
                return (() => b.Ops.Classifier(hidden, head, ids, losses, gradHidden, gradHead, 0.1f, scratch), [losses, gradHidden, gradHead]);
            },
            ["Muon"] = b =>
            {
                Tensor weight = RandomSingle(b, 61, 90), gradient = RandomSingle(b, 61, 90), momentum = RandomSingle(b, 61, 90);
                nint scratch = b.Scratch(b.Ops.MuonBytes(61, 90)), settings = b.Settings(new MuonStep(0.01f, 0.9f, 0.1f));
                Tensor scale = b.Factor(1);
                return (() => b.Ops.Muon(weight, default, gradient, momentum, settings, scale, scratch), [weight, momentum]);
            },
            ["SetMuon"] = b =>
            {
                nint settings = b.Scratch(MuonStep.SettingsBytes);
                return (() => b.Ops.SetMuon(new(0.01f, 0.9f, 0.1f), settings), [new Tensor(settings, ElementType.Float32, 1, 3)]);
            },
            ["SetAdamW"] = b =>
            {
                nint settings = b.Scratch(AdamWStep.SettingsBytes);
                return (() => b.Ops.SetAdamW(new(3, 0.01f, 0.9f, 0.99f, 1e-8f, 0.1f), settings), [new Tensor(settings, ElementType.Float32, 1, 6)]);
            },
            ["AdamW"] = b =>
            {
                (Tensor w, Tensor g, Tensor m, Tensor v) = (RandomSingle(b, 3, 20001), RandomSingle(b, 3, 20001), RandomSingle(b, 3, 20001), b.Single(new double[60003], 3, 20001));
                nint settings = b.Settings(new AdamWStep(3, 0.01f, 0.9f, 0.99f, 1e-8f, 0.1f));
                Tensor scale = b.Factor(1);
                return (() => b.Ops.AdamW(w, default, g, m, v, settings, scale), [w, m, v]);
            },
            ["ClipScale"] = b =>
            {
                (Tensor squares, Tensor losses) = (b.Put([9, 16, 11], ElementType.Float64, 1, 3, 0), b.Put([2, 3], ElementType.Float64, 1, 2, 0));
                (Tensor totals, Tensor scale) = (b.Put([0, 0], ElementType.Float64, 1, 2, 0), b.Factor(0));
                return (() => b.Ops.ClipScale(squares, losses, 1, totals, scale), [totals, scale]);
            },
            ["RmsNormForward"] = b =>
            {
                (Tensor x, Tensor w, Tensor y, Tensor rstd) = (Random(b, 400, 67), Random(b, 1, 67), b.Unwritten(400, 67), b.UnwrittenSingle(400, 1));
                return (() => b.Ops.RmsNormForward(x, w, y, rstd, 1e-5f), [y, rstd]);
            },
            ["AddRmsNormForward"] = b =>
            {
                (Tensor x, Tensor y, Tensor w) = (Random(b, 400, 67), Random(b, 400, 67), Random(b, 1, 67));
                (Tensor sum, Tensor output, Tensor rstd) = (b.Unwritten(400, 67), b.Unwritten(400, 67), b.UnwrittenSingle(400, 1));
                return (() => b.Ops.AddRmsNormForward(x, y, w, sum, output, rstd, 1e-5f), [sum, output, rstd]);
            },
            ["RmsNormBackward"] = b =>
            {
                (Tensor x, Tensor w, Tensor dy, Tensor dx) = (Random(b, 1300, 67), Random(b, 1, 67), Random(b, 1300, 67), Random(b, 1300, 67));
                Tensor rstd = b.Single([.. Enumerable.Repeat(0.5, 1300)], 1300, 1), dw = RandomSingle(b, 1, 67);
                return (() => b.Ops.RmsNormBackward(dy, x, w, rstd, dx, true, dw), [dx, dw]);
            },
            ["Rotary"] = b =>
            {
                AttentionShape shape = new(3, 50, 4, 2, 16);
                Tensor table = b.UnwrittenSingle(50, 16), qkv = Random(b, 150, shape.PackedColumns);
                b.Ops.RotaryTable(table, 500_000);
                return (() => b.Ops.Rotary(qkv, table, shape, 0, false), [qkv]);
            },
            ["RotaryTable"] = b =>
            {
                Tensor table = b.UnwrittenSingle(50, 16);
                return (() => b.Ops.RotaryTable(table, 500_000), [table]);
            },
            ["SwiGluForward"] = b =>
            {
                (Tensor gateUp, Tensor s) = (Random(b, 150, 2 * 257), b.Unwritten(150, 257));
                return (() => b.Ops.SwiGluForward(gateUp, s), [s]);
            },
            ["SwiGluBackward"] = b =>
            {
                (Tensor gateUp, Tensor ds) = (Random(b, 150, 2 * 257), Random(b, 150, 257));
                return (() => b.Ops.SwiGluBackward(gateUp, ds), [gateUp, ds]);
            },
            ["CodeEncode"] = b =>
            {
                (Tensor x, Tensor weight, Tensor residual, Tensor code) = (Random(b, 70, 320), Random(b, 40, 320), Random(b, 70, 320), b.Unwritten(70, 40));
                return (() => b.Ops.CodeEncode(x, weight, residual.ColumnRange(0, 40), code), [code]);
            },
            ["CodeDecode"] = b =>
            {
                (Tensor code, Tensor weight, Tensor output) = (Random(b, 70, 40), Random(b, 320, 40), b.Unwritten(70, 320));
                return (() => b.Ops.CodeDecode(code, weight, output), [output]);
            },
            ["SiluForward"] = b => Map(b, (x, _, y) => b.Ops.SiluForward(x, y)),
            ["SiluBackward"] = b => Map(b, b.Ops.SiluBackward),
            ["ReluForward"] = b => Map(b, (x, _, y) => b.Ops.ReluForward(x, y)),
            ["ReluBackward"] = b => Map(b, b.Ops.ReluBackward),
            ["Zero"] = b => Map(b, (_, _, y) => b.Ops.Zero(y)),
            ["Copy"] = b => Map(b, (x, _, y) => b.Ops.Copy(x, y)),
            ["Add"] = b => Map(b, (x, _, y) => b.Ops.Add(x, y)),
            ["Scale"] = b => Map(b, (_, _, y) => b.Ops.Scale(y, 0.999f)),
            ["EmbeddingForward"] = b =>
            {
                (Tensor ids, Tensor table, Tensor output) = (b.Int32(b.Ids(300, 50)), Random(b, 50, 300), b.Unwritten(300, 300));
                return (() => b.Ops.EmbeddingForward(ids, table, output), [output]);
            },
            ["EmbeddingBackward"] = b =>
            {
                (Tensor ids, Tensor dy, Tensor gradient) = (b.Int32(b.Ids(300, 50)), Random(b, 300, 300), RandomSingle(b, 50, 300));
                return (() => b.Ops.EmbeddingBackward(ids, dy, gradient), [gradient]);
            },
            ["Sum"] = b => Reduction(b, b.Ops.Sum),
            ["SumOfSquares"] = b => Reduction(b, b.Ops.SumOfSquares),
            ["CodePack"] = b =>
            {
                (Tensor code, Tensor wire) = (Random(b, 100, 67), b.Put(new double[100 * 69], ElementType.BFloat16, 100, 69, 0));
                return (() => b.Ops.CodePack(code, WireFormat.Int8, wire.Address), [wire]);
            },
            ["CodeUnpack"] = b =>
            {
                (Tensor code, Tensor wire) = (Random(b, 100, 67), b.Put(b.Normal(100 * 69), ElementType.BFloat16, 100, 69, 0));
                return (() => b.Ops.CodeUnpack(wire.Address, WireFormat.BFloat16, code), [code]);
            },
            ["TopKPack"] = b =>
            {
                (Tensor x, Tensor error, Tensor wire) = (RandomSingle(b, 1, 20011), RandomSingle(b, 1, 20011), Packed(b, 20011));
                return (() => b.Ops.TopKPack(x, error, 0.9f, Kept, wire.Address), [error, wire]);
            },
            ["TopKAdd"] = b =>
            {
                (Tensor x, Tensor error, Tensor wire) = (RandomSingle(b, 1, 20011), RandomSingle(b, 1, 20011), Packed(b, 20011));
                b.Ops.TopKPack(x, error, 0.9f, Kept, wire.Address);
                return (() => b.Ops.TopKAdd(wire.Address, Kept, 0.5f, x), [x]);
            },
            ["HashWeights"] = b =>
            {
                (Tensor weight, Tensor hash) = (RandomSingle(b, 3, 20011), b.Put([0], ElementType.Float64, 1, 1, 0));
                return (() => b.Ops.HashWeights(weight, default, 5, hash.Address), [hash]);
            },
        };

    const int Kept = 64;

    static Tensor Packed(Workbench bench, int count)
    {
        int pairs = (int)TopKWire.Bytes(count, Kept) / 2;
        return bench.Put(new double[pairs], ElementType.BFloat16, 1, pairs, 0);
    }

    static Tensor Random(Workbench bench, int rows, int columns) => bench.Compute(bench.Normal(rows * columns), rows, columns);

    static Tensor RandomSingle(Workbench bench, int rows, int columns) => bench.Single(bench.Normal(rows * columns), rows, columns);

    static (Action, Tensor[]) Map(Workbench bench, Action<Tensor, Tensor, Tensor> call)
    {
        (Tensor x, Tensor gradient, Tensor y) = (Random(bench, 3, 20011), Random(bench, 3, 20011), Random(bench, 3, 20011));
        return (() => call(x, gradient, y), [y]);
    }

    static (Action, Tensor[]) Reduction(Workbench bench, Action<Tensor, Tensor, int> call)
    {
        (Tensor x, Tensor results) = (RandomSingle(bench, 5, 20011), bench.Put([0, 0], ElementType.Float64, 1, 2, 0));
        return (() => call(x, results, 1), [results]);
    }

    static (Action, Tensor[]) Attention(Workbench bench, bool backward)
    {
        AttentionShape shape = new(2, 70, 4, 2, 16);
        Tensor qkv = Random(bench, shape.Rows, shape.PackedColumns), lse = bench.UnwrittenSingle(8, 70);
        Tensor output = bench.Unwritten(shape.Rows, shape.OutputColumns), dy = Random(bench, shape.Rows, shape.OutputColumns);
        Tensor gradient = bench.Unwritten(shape.Rows, shape.PackedColumns);
        nint scratch = bench.Scratch(bench.Ops.AttentionBackwardBytes(shape));
        bench.Ops.AttentionForward(qkv, output, lse, shape);
        return backward
            ? (() => bench.Ops.AttentionBackward(qkv, output, dy, lse, gradient, scratch, shape), [gradient])
            : (() => bench.Ops.AttentionForward(qkv, output, lse, shape), [output, lse]);
    }
}
