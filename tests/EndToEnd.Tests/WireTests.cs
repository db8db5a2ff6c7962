// What crosses a boundary, counted at the socket, against what the payloads predict:
//   forward  = steps * M * (code + ids + header)        back = steps * M * (code + header)
// The rest (QUIC packets, acknowledgements of the other direction, answers, signs of life, path MTU probes) must stay below 5 %.
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;
using OrionNative.Kernels;
using OrionNative.Net.Framing;

namespace OrionNative.EndToEnd.Tests;

public class WireTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(WireFormat.Float32)]
    [InlineData(WireFormat.BFloat16)]
    [InlineData(WireFormat.Int8)]
    public void Boundary_EachWireFormat_SocketBytesEqualThePrediction(WireFormat wire)
    {
        RunConfig config = new()
        {
            Stages = 2,
            Steps = 5,
            Sequence = 512,
            MicrobatchSize = 4,
            Microbatches = 4,
            Boundary = BoundaryKind.None,
            Wire = wire,
            CheckpointEvery = 0,
        };
        using SwarmUnderTest run = new(config);
        run.Start();
        run.WaitForEnd(180);
        CodePayload payload = CodePayload.Of(ResolvedRun.From(config with { Data = [run.TextFile] }).Model, config);
        long messages = (long)config.Steps * config.Microbatches;
        long forward = messages * (payload.ForwardBytes + MessageHeader.Bytes), back = messages * (payload.CodeBytes + MessageHeader.Bytes);
        long sentForward = run.Swarm.Orchestrator.Figures.Values.Sum(figures => figures.Total.NextBytes);
        long sentBack = run.Swarm.Orchestrator.Figures.Values.Sum(figures => figures.Total.PreviousBytes);
        output.WriteLine($"{wire}: forward {sentForward} bytes of {forward} ({(double)sentForward / forward:F4}), back {sentBack} of {back} ({(double)sentBack / back:F4})");
        Assert.InRange((double)sentForward / forward, 0.95, 1.05);
        Assert.InRange((double)sentBack / back, 0.95, 1.05);
    }
}
