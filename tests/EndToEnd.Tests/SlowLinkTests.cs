// A swarm of real processes whose links are slower than its compute: full activations over 5 Mbit/s, so that codes wait in the lane
// for longer than a peer is given to answer. It trains; nobody is suspected, nothing is offered twice, nobody is removed.
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Run;
using OrionNative.Net.Links;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
public class SlowLinkTests(ITestOutputHelper output)
{
    const double BitsPerSecond = 5e6;

    [Fact]
    public void FullActivations_OverFiveMegabits_TrainWithoutSuspicion()
    {
        RunConfig config = SwarmUnderTest.Small(stages: 2, replicas: 2, steps: 2) with
        {
            Boundary = BoundaryKind.None,
            Wire = Kernels.WireFormat.Float32,
            Sequence = 64,
            MicrobatchSize = 8,
        };
        LinkConditions slow = new() { BitsPerSecond = BitsPerSecond, Delay = TimeSpan.FromMilliseconds(15) };
        using SwarmUnderTest run = new(config, new LinkProfile(slow, slow));
        run.Start();
        run.WaitForEnd(120);
        run.RequireExactlyOnce(config);
        double[] seconds = run.StepSeconds();
        output.WriteLine($"steps of {string.Join(' ', seconds.Select(s => s.ToString("F2")))} s");
        Assert.Null(run.FirstReroute(DateTime.UtcNow.AddMinutes(-5)));
        Assert.Empty(run.Events("PeerRemoved"));
        Assert.DoesNotContain(run.Events("note"), note => ((string)note["text"]!).Contains(" suspects ", StringComparison.Ordinal));

        // the test shows something only if codes wait longer than an answer may take: all of a step's in one lane of two
        double bytes = (double)config.MicrobatchSize * config.Sequence * 128 * sizeof(float) * config.Microbatches / config.Replicas;
        Assert.True(bytes * 8 / BitsPerSecond > 1.6, $"{bytes} bytes are through too early");
        Assert.True(seconds.Min() > bytes * 8 / BitsPerSecond / 2, "the links did not set the pace");
    }
}
