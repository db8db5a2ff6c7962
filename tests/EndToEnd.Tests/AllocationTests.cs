// In the steady state a microbatch costs no managed memory in any peer: real processes, real QUIC. A peer counts what its
// whole process allocates from the first compute of a step to its last contribution; per step the words of the commit remain.
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
public class AllocationTests(ITestOutputHelper output)
{
    const int WarmUpSteps = 40, MeasuredSteps = 60;

    // The runtime hands memory to a thread in contexts of 8 KiB and counts those. A thread that is not the program's (a timer's,
    // one more of the pool's) may come to need one, rarely two on a busy machine; a single object for each microbatch, of 24 bytes
    // at least, needs more than that.
    const int ContextBytes = (8 << 10) + 8, ObjectBytesLeast = 24;

    [Theory]
    [InlineData(2, 1)]
    [InlineData(4, 1)]
    [InlineData(2, 2)]
    public void Microbatches_AfterWarmUp_AllocateNothingInAnyPeer(int stages, int replicas)
    {
        RunConfig config = new()
        {
            Stages = stages,
            Replicas = replicas,
            Steps = WarmUpSteps + MeasuredSteps + 10,
            Sequence = 32,
            MicrobatchSize = 2,
            Microbatches = 16 * replicas,
            CheckpointEvery = 0,
        };
        using SwarmUnderTest run = new(config);
        run.Start();
        run.WaitForStep(WarmUpSteps);
        Dictionary<PeerId, PeerCounts> before = Counts(run);
        run.WaitForStep(WarmUpSteps + MeasuredSteps);
        Dictionary<PeerId, PeerCounts> after = Counts(run);
        run.WaitForEnd(60);
        Assert.Equal(stages * replicas, before.Count);
        foreach ((PeerId peer, PeerCounts first) in before)
        {
            PeerCounts last = after[peer];
            long microbatches = last.Microbatches - first.Microbatches;
            long onPath = last.DataPathAllocatedBytes - first.DataPathAllocatedBytes, all = last.AllocatedBytes - first.AllocatedBytes;
            output.WriteLine($"{peer.Short}: {microbatches} microbatches, {onPath} bytes while they were under way, {all} in all ({(double)(all - onPath) / MeasuredSteps:F0} a step)");
            Assert.True(microbatches * ObjectBytesLeast > 2 * ContextBytes, $"{microbatches} microbatches are too few to see one object each");
            Assert.InRange(onPath, 0, 2 * ContextBytes);
        }
    }

    static Dictionary<PeerId, PeerCounts> Counts(SwarmUnderTest run) =>
        run.Swarm.Orchestrator.Figures.ToDictionary(told => told.Key, told => told.Value.Life);
}
