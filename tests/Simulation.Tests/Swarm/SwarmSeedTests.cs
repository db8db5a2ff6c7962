// Hundreds of seeds through the production cores, each twice; the campaign of ten thousand runs with ORION_LONG=1.
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public class SwarmSeedTests(ITestOutputHelper output)
{
    // Branches that need so rare a coincidence that some hundred seeds may miss them.
    static readonly string[] _rare = [nameof(Probe.CommitResent), nameof(Probe.HelloWhileReducing), nameof(Probe.WrongStage), nameof(Probe.StateFailed), nameof(Probe.ReduceRefused), nameof(Probe.Superseded)];

    [Fact]
    public void FourHundredSeeds_DrawnFaults_EveryPropertyHoldsAndTracesAgree() => Check(1, 400, _rare);

    [Fact]
    public void TenThousandSeeds_DrawnFaults_EveryPropertyHoldsAndAllBranchesButOneAreReached()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("ORION_LONG") == "1", "takes minutes; set ORION_LONG=1 to run it");
        Check(1, 10_000, [nameof(Probe.WrongStage)]);
    }

    [Fact]
    public void SeedsThatFoundBugs_StillReplayed_EveryPropertyHolds()
    {
        foreach (string line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Swarm", "seeds.txt")).Where(l => l.Length > 0 && l[0] != '#'))
        {
            SwarmOutcome outcome = SwarmSimulation.Run(ulong.Parse(line.Split(' ')[0]));
            Assert.True(outcome.IsSuccess, $"{SwarmSimulation.ReplayCommand(outcome.Seed)}: {outcome.Failure}");
        }
    }

    [Fact]
    public void SameSeed_OtherTraceSink_SameHash()
    {
        var lines = new List<string>();
        SwarmOutcome silent = SwarmSimulation.Run(7), traced = SwarmSimulation.Run(7, lines.Add);
        Assert.Equal(silent.TraceHash, traced.TraceHash);
        Assert.NotEmpty(lines);
        Assert.NotEqual(silent.TraceHash, SwarmSimulation.Run(8).TraceHash);
    }

    void Check(ulong first, ulong last, string[] mayBeUnreached)
    {
        SwarmCampaign campaign = SwarmCampaign.Run(first, last, output.WriteLine);
        output.WriteLine($"{campaign.Seeds} seeds, {campaign.Events} events, {campaign.VirtualSeconds:F0} virtual s; unreached: {string.Join(", ", campaign.Unreached)}");
        Assert.True(campaign.Failures.Count == 0, string.Join("\n", campaign.Failures.Take(5).Select(f => $"{SwarmSimulation.ReplayCommand(f.Seed)}: {f.Failure}")));
        Assert.Empty(campaign.Unreached.Except(mayBeUnreached));
    }
}
