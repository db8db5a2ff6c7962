// Where a step's time goes: a device whose operations are timed one by one, by name, products by shape.
using System.Diagnostics;
using OrionNative.Kernels;

namespace OrionNative.Bench;

/// <summary>Another device with a clock around every operation. Only for devices that have finished when a call returns.</summary>
sealed class TimedDevice(IDevice device) : IDevice
{
    public TimedOps Timed { get; } = new(device.Ops);

    public string Name => device.Name;

    public ElementType ComputeType => device.ComputeType;

    public IOps Ops => Timed;

    public nint Allocate(long bytes, string purpose) => device.Allocate(bytes, purpose);

    public void Free(nint address) => device.Free(address);

    public void Upload(ReadOnlySpan<byte> source, nint destination) => device.Upload(source, destination);

    public void Download(nint source, Span<byte> destination) => device.Download(source, destination);

    public void Synchronize() => device.Synchronize();

    public long MemoryBytes => device.MemoryBytes;

    public long WorkspaceBytes => device.WorkspaceBytes;

    public ITransfers Transfers => device.Transfers;

    public IRecordedWork Record(Action work) => device.Record(work);

    public void Dispose() => device.Dispose();
}

/// <summary>Operations that add up their own time.</summary>
sealed class TimedOps(IOps ops) : IOps
{
    readonly IOps _ops = ops;
    readonly Dictionary<string, (int Calls, double Seconds, double Flop)> _times = [];

    /// <summary>Forgets what was measured.</summary>
    public void Clear() => _times.Clear();

    /// <summary>A line for each operation, the slowest first: milliseconds and calls a step, GFLOP/s of products.</summary>
    public IEnumerable<string> Table(int steps, double secondsAStep)
    {
        foreach ((string name, (int calls, double seconds, double flop)) in _times.OrderByDescending(entry => entry.Value.Seconds))
        {
            yield return $"{name,-34} {calls / (double)steps,6:F0} calls {1e3 * seconds / steps,9:F2} ms {100 * seconds / steps / secondsAStep,6:F1} %"
                + (flop > 0 ? $" {flop / seconds / 1e9,8:F1} GFLOP/s" : "");
        }

        double other = secondsAStep - (_times.Values.Sum(entry => entry.Seconds) / steps);
        yield return $"{"outside the operations",-34} {"",12} {1e3 * other,9:F2} ms {100 * other / secondsAStep,6:F1} %";
    }

    void Time(string name, Action call, double flop = 0)
    {
        long start = Stopwatch.GetTimestamp();
        call();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        (int calls, double sum, double flopSum) = _times.GetValueOrDefault(name);
        _times[name] = (calls + 1, sum + seconds, flopSum + flop);
    }

    public void SiluForward(Tensor x, Tensor output) =>
        Time(nameof(SiluForward), () => _ops.SiluForward(x, output));

    public void SiluBackward(Tensor x, Tensor gradOutput, Tensor gradX) =>
        Time(nameof(SiluBackward), () => _ops.SiluBackward(x, gradOutput, gradX));

    public void ReluForward(Tensor x, Tensor output) =>
        Time(nameof(ReluForward), () => _ops.ReluForward(x, output));

    public void ReluBackward(Tensor output, Tensor gradOutput, Tensor gradX) =>
        Time(nameof(ReluBackward), () => _ops.ReluBackward(output, gradOutput, gradX));

    public void SetAdamW(AdamWStep step, nint settings) => _ops.SetAdamW(step, settings);

    public void AdamW(Tensor weight, Tensor low, Tensor gradient, Tensor m, Tensor v, nint settings, Tensor scale) =>
        Time(nameof(AdamW), () => _ops.AdamW(weight, low, gradient, m, v, settings, scale));

    public void AttentionForward(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape) =>
        Time(nameof(AttentionForward), () => _ops.AttentionForward(qkv, output, logSumExp, shape));

    public long AttentionBackwardBytes(AttentionShape shape) => _ops.AttentionBackwardBytes(shape);

    public void CodeEncode(Tensor x, Tensor weight, Tensor residual, Tensor code) =>
        Time(nameof(CodeEncode), () => _ops.CodeEncode(x, weight, residual, code));

    public void CodeDecode(Tensor code, Tensor weight, Tensor output) =>
        Time(nameof(CodeDecode), () => _ops.CodeDecode(code, weight, output));

    public void AttentionBackward(
        Tensor qkv, Tensor output, Tensor gradOutput, Tensor logSumExp, Tensor gradQkv, nint scratch, AttentionShape shape, Tensor angles, int startPosition) =>
        Time(nameof(AttentionBackward), () => _ops.AttentionBackward(qkv, output, gradOutput, logSumExp, gradQkv, scratch, shape, angles, startPosition));

    public void AttentionCached(Tensor qkv, Tensor keys, Tensor values, int start, Tensor output, AttentionShape shape) =>
        Time(nameof(AttentionCached), () => _ops.AttentionCached(qkv, keys, values, start, output, shape));

    public long ClassifierBytes(int rows, int width, int vocabulary) => _ops.ClassifierBytes(rows, width, vocabulary);

    public void Classifier(Tensor hidden, Tensor head, Tensor targets, Tensor losses, Tensor gradHidden, Tensor gradHead, float gradientScale, nint scratch) =>
        Time(nameof(Classifier), () => _ops.Classifier(hidden, head, targets, losses, gradHidden, gradHead, gradientScale, scratch));

    public void CodePack(Tensor code, WireFormat format, nint destination) =>
        Time(nameof(CodePack), () => _ops.CodePack(code, format, destination));

    public void CodeUnpack(nint source, WireFormat format, Tensor code) =>
        Time(nameof(CodeUnpack), () => _ops.CodeUnpack(source, format, code));

    public void Zero(Tensor destination) =>
        Time(nameof(Zero), () => _ops.Zero(destination));

    public void Copy(Tensor source, Tensor destination) =>
        Time(nameof(Copy), () => _ops.Copy(source, destination));

    public void Add(Tensor source, Tensor destination) =>
        Time(nameof(Add), () => _ops.Add(source, destination));

    public void Scale(Tensor x, float factor) =>
        Time(nameof(Scale), () => _ops.Scale(x, factor));

    public void EmbeddingForward(Tensor ids, Tensor table, Tensor output) =>
        Time(nameof(EmbeddingForward), () => _ops.EmbeddingForward(ids, table, output));

    public void EmbeddingBackward(Tensor ids, Tensor gradOutput, Tensor gradTable) =>
        Time(nameof(EmbeddingBackward), () => _ops.EmbeddingBackward(ids, gradOutput, gradTable));

    public void MatrixProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta)
    {
        int inner = transposeA ? a.Rows : a.Columns;
        string name = $"product {c.Rows} x {c.Columns} x {inner} {(transposeA ? 'T' : 'N')}{(transposeB ? 'T' : 'N')}";
        Time(name, () => _ops.MatrixProduct(a, transposeA, b, transposeB, c, alpha, beta), 2.0 * c.Count * inner);
    }

    public long MuonBytes(int rows, int columns) => _ops.MuonBytes(rows, columns);

    public void SetMuon(MuonStep step, nint settings) => _ops.SetMuon(step, settings);

    public void Muon(Tensor weight, Tensor low, Tensor gradient, Tensor momentum, nint settings, Tensor scale, nint scratch) =>
        Time(nameof(Muon), () => _ops.Muon(weight, low, gradient, momentum, settings, scale, scratch));

    public void ClipScale(Tensor squares, Tensor losses, double limit, Tensor totals, Tensor scale) =>
        Time(nameof(ClipScale), () => _ops.ClipScale(squares, losses, limit, totals, scale));

    public void TopKPack(Tensor x, Tensor error, float decay, int kept, nint destination) =>
        Time(nameof(TopKPack), () => _ops.TopKPack(x, error, decay, kept, destination));

    public void TopKAdd(nint source, int kept, float weight, Tensor destination) =>
        Time(nameof(TopKAdd), () => _ops.TopKAdd(source, kept, weight, destination));

    public void HashWeights(Tensor weight, Tensor low, long first, nint hash) =>
        Time(nameof(HashWeights), () => _ops.HashWeights(weight, low, first, hash));

    public void SumOfSquares(Tensor x, Tensor results, int index) =>
        Time(nameof(SumOfSquares), () => _ops.SumOfSquares(x, results, index));

    public void Sum(Tensor x, Tensor results, int index) =>
        Time(nameof(Sum), () => _ops.Sum(x, results, index));

    public void RmsNormForward(Tensor x, Tensor weight, Tensor output, Tensor rstd, float epsilon) =>
        Time(nameof(RmsNormForward), () => _ops.RmsNormForward(x, weight, output, rstd, epsilon));

    public void AddRmsNormForward(Tensor x, Tensor y, Tensor weight, Tensor sum, Tensor output, Tensor rstd, float epsilon) =>
        Time(nameof(AddRmsNormForward), () => _ops.AddRmsNormForward(x, y, weight, sum, output, rstd, epsilon));

    public void RmsNormBackward(Tensor gradOutput, Tensor x, Tensor weight, Tensor rstd, Tensor gradX, bool accumulate, Tensor gradWeight) =>
        Time(nameof(RmsNormBackward), () => _ops.RmsNormBackward(gradOutput, x, weight, rstd, gradX, accumulate, gradWeight));

    public void RotaryTable(Tensor table, double rotaryBase) =>
        Time(nameof(RotaryTable), () => _ops.RotaryTable(table, rotaryBase));

    public void Rotary(Tensor qkv, Tensor table, AttentionShape shape, int startPosition, bool inverse) =>
        Time(nameof(Rotary), () => _ops.Rotary(qkv, table, shape, startPosition, inverse));

    public void SwiGluForward(Tensor gateUp, Tensor output) =>
        Time(nameof(SwiGluForward), () => _ops.SwiGluForward(gateUp, output));

    public void SwiGluBackward(Tensor gateUp, Tensor gradOutput) =>
        Time(nameof(SwiGluBackward), () => _ops.SwiGluBackward(gateUp, gradOutput));
}
