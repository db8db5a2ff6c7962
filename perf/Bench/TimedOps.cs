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

    void Add(string name, long start, double flop = 0)
    {
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        (int calls, double sum, double flopSum) = _times.GetValueOrDefault(name);
        _times[name] = (calls + 1, sum + seconds, flopSum + flop);
    }

    public void SiluForward(Tensor x, Tensor output)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.SiluForward(x, output);
        Add(nameof(SiluForward), began);
    }

    public void SiluBackward(Tensor x, Tensor gradOutput, Tensor gradX)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.SiluBackward(x, gradOutput, gradX);
        Add(nameof(SiluBackward), began);
    }

    public void ReluForward(Tensor x, Tensor output)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.ReluForward(x, output);
        Add(nameof(ReluForward), began);
    }

    public void ReluBackward(Tensor output, Tensor gradOutput, Tensor gradX)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.ReluBackward(output, gradOutput, gradX);
        Add(nameof(ReluBackward), began);
    }

    public void AdamW(Tensor weight, Tensor low, Tensor gradient, Tensor m, Tensor v, AdamWStep step)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.AdamW(weight, low, gradient, m, v, step);
        Add(nameof(AdamW), began);
    }

    public void AttentionForward(Tensor qkv, Tensor output, Tensor logSumExp, AttentionShape shape)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.AttentionForward(qkv, output, logSumExp, shape);
        Add(nameof(AttentionForward), began);
    }

    public long AttentionBackwardBytes(AttentionShape shape) => _ops.AttentionBackwardBytes(shape);

    public void AttentionBackward(Tensor qkv, Tensor output, Tensor gradOutput, Tensor logSumExp, Tensor gradQkv, nint scratch, AttentionShape shape)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.AttentionBackward(qkv, output, gradOutput, logSumExp, gradQkv, scratch, shape);
        Add(nameof(AttentionBackward), began);
    }

    public void AttentionCached(Tensor qkv, Tensor keys, Tensor values, int start, Tensor output, AttentionShape shape)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.AttentionCached(qkv, keys, values, start, output, shape);
        Add(nameof(AttentionCached), began);
    }

    public long ClassifierBytes(int rows, int width, int vocabulary) => _ops.ClassifierBytes(rows, width, vocabulary);

    public void Classifier(Tensor hidden, Tensor head, Tensor targets, Tensor losses, Tensor gradHidden, Tensor gradHead, float gradientScale, nint scratch)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Classifier(hidden, head, targets, losses, gradHidden, gradHead, gradientScale, scratch);
        Add(nameof(Classifier), began);
    }

    public void CodePack(Tensor code, WireFormat format, nint destination)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.CodePack(code, format, destination);
        Add(nameof(CodePack), began);
    }

    public void CodeUnpack(nint source, WireFormat format, Tensor code)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.CodeUnpack(source, format, code);
        Add(nameof(CodeUnpack), began);
    }

    public void Zero(Tensor destination)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Zero(destination);
        Add(nameof(Zero), began);
    }

    public void Copy(Tensor source, Tensor destination)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Copy(source, destination);
        Add(nameof(Copy), began);
    }

    public void Add(Tensor source, Tensor destination)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Add(source, destination);
        Add(nameof(Add), began);
    }

    public void Scale(Tensor x, float factor)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Scale(x, factor);
        Add(nameof(Scale), began);
    }

    public void EmbeddingForward(Tensor ids, Tensor table, Tensor output)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.EmbeddingForward(ids, table, output);
        Add(nameof(EmbeddingForward), began);
    }

    public void EmbeddingBackward(Tensor ids, Tensor gradOutput, Tensor gradTable)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.EmbeddingBackward(ids, gradOutput, gradTable);
        Add(nameof(EmbeddingBackward), began);
    }

    public void MatrixProduct(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.MatrixProduct(a, transposeA, b, transposeB, c, alpha, beta);
        int inner = transposeA ? a.Rows : a.Columns;
        Add($"product {c.Rows} x {c.Columns} x {inner} {(transposeA ? 'T' : 'N')}{(transposeB ? 'T' : 'N')}", began, 2.0 * c.Count * inner);
    }

    public long MuonBytes(int rows, int columns) => _ops.MuonBytes(rows, columns);

    public void Muon(Tensor weight, Tensor low, Tensor gradient, Tensor momentum, MuonStep step, nint scratch)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Muon(weight, low, gradient, momentum, step, scratch);
        Add(nameof(Muon), began);
    }

    public void TopKPack(Tensor x, Tensor error, float decay, int kept, nint destination)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.TopKPack(x, error, decay, kept, destination);
        Add(nameof(TopKPack), began);
    }

    public void TopKAdd(nint source, int kept, float weight, Tensor destination)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.TopKAdd(source, kept, weight, destination);
        Add(nameof(TopKAdd), began);
    }

    public void HashWeights(Tensor weight, Tensor low, long first, nint hash)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.HashWeights(weight, low, first, hash);
        Add(nameof(HashWeights), began);
    }

    public void SumOfSquares(Tensor x, Tensor results, int index)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.SumOfSquares(x, results, index);
        Add(nameof(SumOfSquares), began);
    }

    public void Sum(Tensor x, Tensor results, int index)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Sum(x, results, index);
        Add(nameof(Sum), began);
    }

    public void RmsNormForward(Tensor x, Tensor weight, Tensor output, Tensor rstd, float epsilon)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.RmsNormForward(x, weight, output, rstd, epsilon);
        Add(nameof(RmsNormForward), began);
    }

    public void AddRmsNormForward(Tensor x, Tensor y, Tensor weight, Tensor sum, Tensor output, Tensor rstd, float epsilon)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.AddRmsNormForward(x, y, weight, sum, output, rstd, epsilon);
        Add(nameof(AddRmsNormForward), began);
    }

    public void RmsNormBackward(Tensor gradOutput, Tensor x, Tensor weight, Tensor rstd, Tensor gradX, bool accumulate, Tensor gradWeight)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.RmsNormBackward(gradOutput, x, weight, rstd, gradX, accumulate, gradWeight);
        Add(nameof(RmsNormBackward), began);
    }

    public void RotaryTable(Tensor table, double rotaryBase)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.RotaryTable(table, rotaryBase);
        Add(nameof(RotaryTable), began);
    }

    public void Rotary(Tensor qkv, Tensor table, AttentionShape shape, int startPosition, bool inverse)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.Rotary(qkv, table, shape, startPosition, inverse);
        Add(nameof(Rotary), began);
    }

    public void SwiGluForward(Tensor gateUp, Tensor output)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.SwiGluForward(gateUp, output);
        Add(nameof(SwiGluForward), began);
    }

    public void SwiGluBackward(Tensor gateUp, Tensor gradOutput)
    {
        long began = Stopwatch.GetTimestamp();
        _ops.SwiGluBackward(gateUp, gradOutput);
        Add(nameof(SwiGluBackward), began);
    }
}
