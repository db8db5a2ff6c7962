// What a run of real processes does when one of them dies or stops, measured from the signal to the first microbatch that
// takes another way, at default settings:   SIGKILL < 1 s,   SIGSTOP < 3 s,   and the run ends with every contribution once.
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Run;

namespace OrionNative.EndToEnd.Tests;

public class FailureTests(ITestOutputHelper output)
{
    const double RehearseSeconds = 0.06;

    static RunConfig Config(int stages, int replicas, int steps) => new()
    {
        Stages = stages,
        Replicas = replicas,
        Steps = steps,
        Sequence = 32,
        MicrobatchSize = 2,
        Microbatches = 16,
        LearningRate = 3e-3,
        CheckpointEvery = 0,
        Seed = 7,
    };

    [Theory]
    [InlineData(false, 1.0)]
    [InlineData(true, 3.0)]
    public void Peer_KilledOrStopped_WorkTakesAnotherWayWithinTheBudget(bool isStopped, double budgetSeconds)
    {
        RunConfig config = Config(stages: 2, replicas: 2, steps: 14);
        using SwarmUnderTest run = new(config);
        run.Swarm.RehearseSeconds.Fill(RehearseSeconds);
        run.Start();
        foreach (int stage in (int[])[0, 1])
        {
            run.WaitForStep(run.Step + 3);
            int victim = run.HolderOf(stage);
            Thread.Sleep(150);   // into the middle of a step
            DateTime at = isStopped ? run.Stop(victim) : run.Kill(victim);
            int step = run.Step;
            Assert.True(SwarmUnderTest.Wait(() => run.FirstReroute(at) is not null, 10), run.Logs());
            double seconds = (run.FirstReroute(at)!.Value - at).TotalSeconds;
            run.WaitForStep(step + 1);
            double committed = (DateTime.UtcNow - at).TotalSeconds;
            output.WriteLine($"stage {stage} {(isStopped ? "stopped" : "killed")}: first reroute after {seconds:F3} s, the step was committed after {committed:F2} s");
            Assert.InRange(seconds, 0, budgetSeconds);
            // the step waits for no lease: its work is done again at once
            Assert.InRange(committed, 0, budgetSeconds + 5);
            if (isStopped)
            {
                run.Continue(victim);
            }
            else
            {
                run.Swarm.Peers[victim]!.WaitForExit();
                run.Swarm.StartPeer(victim);
            }

            Assert.True(SwarmUnderTest.Wait(() => run.Holders(stage).Length == 2 && run.Swarm.Orchestrator.Placement.Members.All(m => m.State == MemberState.Active), 30), run.Logs());
        }

        run.WaitForEnd(60);
        run.RequireExactlyOnce(config);
    }
}
