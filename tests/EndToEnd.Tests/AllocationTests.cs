// In the steady state a microbatch costs no managed memory in any peer: real processes, real QUIC. A peer counts what its
// whole process allocates from the first compute of a step to its last contribution; per step the words of the commit remain.
// On a machine that is busy with other work peers are late and suspected, and what is said then is not the steady state: of
// five runs one must show it. Memory that each microbatch costs shows in all of them.
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
public class AllocationTests(ITestOutputHelper output)
{
    const int WarmUpSteps = 10, MeasuredSteps = 16, AttemptsMax = 5;

    // The runtime hands memory to a thread in contexts of 8 KiB and counts those. A thread that is not the program's (a timer's,
    // one more of the pool's) may come to need one, rarely two; a single object for each microbatch, of 24 bytes at least, needs
    // more than that: in 684 microbatches, of 1152 that a peer has on the average.
    const int ContextBytes = (8 << 10) + 8, ObjectBytesLeast = 24;

    [Theory]
    [InlineData(4, 1)]
    [InlineData(2, 2)]
    public void Microbatches_AfterWarmUp_AllocateNothingInAnyPeer(int stages, int replicas)
    {
        RunConfig config = SwarmUnderTest.Small(stages, replicas, WarmUpSteps + MeasuredSteps + 3) with { Sequence = 16, MicrobatchSize = 1, Microbatches = 72 * replicas };
        long most = long.MaxValue;
        for (int attempt = 0; attempt < AttemptsMax && most > 2 * ContextBytes; attempt++)
        {
            most = MostOnThePath(config);
        }

        Assert.InRange(most, 0, 2 * ContextBytes);
    }

    long MostOnThePath(RunConfig config)
    {
        using SwarmUnderTest run = new(config);
        run.Start();
        run.WaitForStep(WarmUpSteps);
        Dictionary<PeerId, PeerCounts> before = Counts(run);
        run.WaitForStep(WarmUpSteps + MeasuredSteps);
        Dictionary<PeerId, PeerCounts> after = Counts(run);
        run.WaitForEnd(60);
        Assert.Equal(config.Stages * config.Replicas, before.Count);
        long most = 0;
        foreach ((PeerId peer, PeerCounts first) in before)
        {
            PeerCounts last = after[peer];
            long microbatches = last.Microbatches - first.Microbatches;
            long onPath = last.DataPathAllocatedBytes - first.DataPathAllocatedBytes, all = last.AllocatedBytes - first.AllocatedBytes;
            output.WriteLine($"{peer.Short}: {microbatches} microbatches, {onPath} bytes while they were under way, {all} in all ({(double)(all - onPath) / MeasuredSteps:F0} a step)");
            most = Math.Max(most, microbatches * ObjectBytesLeast > 2 * ContextBytes ? onPath : long.MaxValue);
        }

        return most;
    }

    static Dictionary<PeerId, PeerCounts> Counts(SwarmUnderTest run) =>
        run.Swarm.Orchestrator.Figures.ToDictionary(told => told.Key, told => told.Value.Life);
}
