// One stage's worker on memory of its own, timed: forward, backward, sum of a reduction, optimizer step. Payloads are random codes
// and random ids; a first round, which compiles, is not counted; medians of the rest.
using System.Diagnostics;
using System.Runtime.InteropServices;
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;
using OrionNative.Kernels;

namespace OrionNative.Engine.Planning;

sealed unsafe class StageBench : IDisposable
{
    const int RoundsLeast = 3, RoundsMost = 40;
    const double Seconds = 0.4;

    readonly StageWorker _worker;
    readonly StageRange _range;
    readonly byte* _input, _output, _outputGradient, _inputGradient;
    readonly List<nint> _payloads = [];

    public StageBench(PlannedRun run, StageRange range, IDevice device)
    {
        _range = range;
        _worker = new StageWorker(run.Model, range, run.Config, device, slots: 1);
        _worker.Initialize(run.Config.Seed);
        _input = range.HasEmbedding ? null : Payload(run, device);
        _output = range.HasHead && !range.HasEmbedding ? null : Payload(run, device);
        _outputGradient = range.HasHead ? null : Payload(run, device);
        _inputGradient = range.HasEmbedding ? null : Payload(run, device);
    }

    byte* Payload(PlannedRun run, IDevice device)
    {
        CodePayload shape = run.Payload;
        byte* payload = (byte*)NativeMemory.AlignedAlloc((nuint)shape.ForwardBytes, 64);
        _payloads.Add((nint)payload);
        Random random = new((int)run.Config.Seed);
        float[] values = new float[shape.Rows * shape.Width];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = random.NextSingle() - 0.5f;
        }

        Tensor code = new(device.Allocate(sizeof(float) * (long)values.Length, "a random code"), ElementType.Float32, shape.Rows, shape.Width);
        device.Upload(MemoryMarshal.AsBytes(values.AsSpan()), code.Address);
        device.Ops.CodePack(code, shape.Format, (nint)payload);
        device.Free(code.Address);
        int[] ids = new int[shape.Rows];
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = random.Next(run.Model.Vocabulary);
        }

        shape.WriteIds(ids, ids, new Span<byte>(payload + shape.CodeBytes, shape.IdsBytes));
        return payload;
    }

    public StageSeconds Run()
    {
        List<double> forward = [], backward = [], sum = [], apply = [];
        double spent = 0;
        for (int round = 0; round <= RoundsLeast || (round <= RoundsMost && spent < Seconds); round++)
        {
            long began = Stopwatch.GetTimestamp();
            _worker.Forward(round, _input, _output);
            double ahead = Stopwatch.GetElapsedTime(began).TotalSeconds;
            _worker.Backward(round, _input, _output, _outputGradient, _inputGradient);
            double both = Stopwatch.GetElapsedTime(began).TotalSeconds;
            spent += both;
            if (round > 0)
            {
                forward.Add(ahead);
                backward.Add(both - ahead);
            }
        }

        for (int round = 0; round <= RoundsLeast; round++)
        {
            long began = Stopwatch.GetTimestamp();
            _worker.Gradients.BeginReduced();
            _worker.Gradients.AddOwn();
            _worker.Gradients.ReducedSquares();
            double summed = Stopwatch.GetElapsedTime(began).TotalSeconds;
            _worker.Apply(round + 1, 1);
            if (round > 0)
            {
                sum.Add(summed);
                apply.Add(Stopwatch.GetElapsedTime(began).TotalSeconds - summed);
            }
        }

        return new StageSeconds(Median(forward), Median(backward), Median(sum), Median(apply));
    }

    static double Median(List<double> samples) => samples.Order().ElementAt(samples.Count / 2);

    /// <inheritdoc/>
    public void Dispose()
    {
        _worker.Dispose();
        foreach (nint payload in _payloads)
        {
            NativeMemory.AlignedFree((void*)payload);
        }
    }
}
