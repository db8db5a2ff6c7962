// Peers die again and again while the run goes on; what counts is what the run has at the end: every step, every contribution
// once, and a loss that undisturbed runs have too. ORION_LONG=1 runs the five minutes of the requirement, else a short form.
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Run;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
public class CampaignTests(ITestOutputHelper output)
{
    static bool IsLong => Environment.GetEnvironmentVariable("ORION_LONG") == "1";

    // the same model uncut: then an undisturbed swarm is one process, to rounding (SwarmTests)
    static RunConfig Config(int stages, int replicas, int steps) => SwarmUnderTest.Small(stages, replicas, steps) with
    {
        Boundary = BoundaryKind.None,
        Wire = Kernels.WireFormat.Float32,
        CheckpointEvery = 20,
    };

    [Fact]
    public void RandomPeer_KilledAgainAndAgain_RunEndsWithEveryContributionOnceAndAnOrdinaryLoss()
    {
        (double seconds, double every) = IsLong ? (300.0, 15.0) : (10.0, 5.0);
        RunConfig config = Config(stages: 2, replicas: 3, steps: IsLong ? 450 : 24);
        using SwarmUnderTest run = new(config);
        run.Swarm.RehearseSeconds.Fill(0.1);
        run.Start();
        run.WaitForStep(2);
        Random random = new(11);
        long began = TimeProvider.System.GetTimestamp();
        int kills = 0;
        for (double at = 0; at < seconds && run.Step < config.Steps; at += every)
        {
            int victim = random.Next(run.Swarm.Ids.Count);
            run.Kill(victim);
            run.Swarm.Peers[victim]!.WaitForExit();
            kills++;
            SwarmUnderTest.Wait(() => run.Step >= config.Steps, every / 3);
            if (run.Step < config.Steps)
            {
                run.Swarm.StartPeer(victim);
            }

            double next = at + every - TimeProvider.System.GetElapsedTime(began).TotalSeconds;
            SwarmUnderTest.Wait(() => run.Step >= config.Steps, Math.Max(0, next));
        }

        double disturbed = TimeProvider.System.GetElapsedTime(began).TotalSeconds;
        run.WaitForEnd(IsLong ? 400 : 120);
        output.WriteLine($"{kills} kills in {disturbed:F0} s, {config.Steps} steps in {TimeProvider.System.GetElapsedTime(began).TotalSeconds:F0} s");
        Assert.True(kills >= seconds / every / 2, $"only {kills} kills before the run ended");
        run.RequireExactlyOnce(config);
        double loss = Final(run.Losses());
        double[] undisturbed = [.. Enumerable.Range((int)config.Seed, 4).Select(seed => UndisturbedLoss(run, config with { Seed = seed, Stages = 1, Replicas = 1 }))];
        double spread = undisturbed.Max() - undisturbed.Min();
        output.WriteLine($"final loss {loss:F4}; undisturbed seeds {string.Join(' ', undisturbed.Select(l => l.ToString("F4")))}, spread {spread:F4}");
        Assert.InRange(loss, undisturbed[0] - spread, undisturbed[0] + spread);
    }

    static double UndisturbedLoss(SwarmUnderTest run, RunConfig config)
    {
        List<double> losses = [];
        using TrainingRun training = new(ResolvedRun.From(config with { Data = [run.TextFile], Out = Path.Combine(run.RunPath, $"seed{config.Seed}") }), null, TimeProvider.System, TextWriter.Null);
        using LossList view = new(losses);
        training.Train(view, CancellationToken.None);
        return Final(losses);
    }

    static double Final(IReadOnlyCollection<double> losses) => losses.TakeLast(10).Average();

    sealed class LossList(List<double> losses) : Engine.Dashboard.ITrainingView
    {
        public void Step(Engine.Dashboard.StepView step) => losses.Add(step.Loss);

        public void Note(string text)
        {
        }

        public void Dispose()
        {
        }
    }

    [Fact]
    public void LastHolder_Killed_RunHoldsWithItsReasonAndGoesOnWhenAReplacementJoins()
    {
        RunConfig config = Config(stages: 2, replicas: 1, steps: 12) with { CheckpointEvery = 2 };
        using SwarmUnderTest run = new(config);
        run.Swarm.RehearseSeconds.Fill(0.05);
        run.Start();
        run.WaitForStep(5);
        int victim = run.HolderOf(1);
        DateTime at = run.Kill(victim);
        Assert.True(SwarmUnderTest.Wait(() => run.Swarm.Orchestrator.HoldReason.Contains("no holder for stage 1", StringComparison.Ordinal), 10), run.Logs());
        output.WriteLine($"HOLD after {(DateTime.UtcNow - at).TotalSeconds:F2} s: {run.Swarm.Orchestrator.HoldReason}");
        int held = run.Step;
        Assert.False(SwarmUnderTest.Wait(() => run.Step > held, 2), "a step was committed without a holder of stage 1");
        run.Swarm.Peers[victim]!.WaitForExit();
        run.Swarm.StartPeer(victim);
        run.WaitForEnd(60);
        run.RequireExactlyOnce(config);
        Assert.Contains(run.Events("note"), note => ((string)note["text"]!).StartsWith("HOLD: no holder for stage 1", StringComparison.Ordinal));
        Assert.Equal(config.Steps, run.Losses().Length);
    }
}
