// What crosses a boundary, counted at the socket, against what `plan` predicts:
//   forward  = steps * M * (code + ids + header)        back = steps * M * (code + header)
// The rest (QUIC packets, acknowledgements of the other direction, answers, signs of life, path MTU probes) must stay below 5 %.
// On a machine that is busy with other work datagrams are lost on the loopback and sent again, and signs of life go on while
// nothing computes: both only add. So of three runs one must stay within the bound, and none may fall below it.
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Planning;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
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
        (double forward, double back) = (double.MaxValue, double.MaxValue);
        for (int attempt = 0; attempt < 3 && Math.Max(forward, back) > 1.05; attempt++)
        {
            (forward, back) = SentOverPredicted(config);
            Assert.InRange(Math.Min(forward, back), 0.95, double.MaxValue);
        }

        Assert.InRange(forward, 0.95, 1.05);
        Assert.InRange(back, 0.95, 1.05);
    }

    (double Forward, double Back) SentOverPredicted(RunConfig config)
    {
        using SwarmUnderTest run = new(config);
        run.Start();
        run.WaitForEnd(180);
        PlannedRun planned = new(ResolvedRun.WithoutData(config));
        long messages = (long)config.Steps * config.Microbatches;
        long forward = messages * planned.ForwardBytes, back = messages * planned.BackBytes;
        long sentForward = run.Swarm.Orchestrator.Figures.Values.Sum(figures => figures.Total.NextBytes);
        long sentBack = run.Swarm.Orchestrator.Figures.Values.Sum(figures => figures.Total.PreviousBytes);
        // a line of metrics has the bytes of its step; what peers tell comes a little late, so the end of the run stands in no line
        PeerCounts all = run.Swarm.Orchestrator.Figures.Values.Aggregate(new PeerCounts(), (sum, figures) => sum + figures.Total);
        IEnumerable<JsonObject> steps = new RunFiles(run.RunPath).Metrics;
        Assert.InRange(steps.Sum(step => (long)step["bytesSent"]!), all.SentBytes / 2, all.SentBytes);
        Assert.InRange(steps.Sum(step => (long)step["bytesReceived"]!), all.ReceivedBytes / 2, all.ReceivedBytes);
        output.WriteLine($"{config.Wire}: forward {sentForward} bytes of {forward} ({(double)sentForward / forward:F4}), back {sentBack} of {back} ({(double)sentBack / back:F4})");
        return ((double)sentForward / forward, (double)sentBack / back);
    }
}
