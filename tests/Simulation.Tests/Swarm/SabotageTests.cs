// The checks are themselves checked: a bug planted in the harness must turn some seed red, and name the property.
using OrionNative.Engine.Simulation;

namespace OrionNative.Simulation.Tests.Swarm;

public class SabotageTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData((int)Sabotage.AddTwice, "times in the sum|a single process has")]
    [InlineData((int)Sabotage.KeepOldSum, "times in the sum|a single process has")]
    [InlineData((int)Sabotage.ShareOfAnyName, "times in the sum|a single process has")]
    [InlineData((int)Sabotage.ForgetLastRecord, "committed")]
    [InlineData((int)Sabotage.DropContribution, "no end")]
    public void BugPlanted_SomeSeeds_TheRightCheckTurnsRed(int sabotage, string expected)
    {
        for (ulong seed = 1; seed <= 600; seed++)
        {
            SwarmOptions options = SwarmOptions.Draw(seed) with { Sabotage = (Sabotage)sabotage, HealedSeconds = 120 };
            SwarmOutcome outcome = SwarmSimulation.Run(options, null, out _);
            if (outcome.IsSuccess)
                continue;
            output.WriteLine($"{(Sabotage)sabotage}: noticed by seed {seed}");
            Assert.Matches(expected, outcome.Failure);
            return;
        }
        Assert.Fail($"{(Sabotage)sabotage}: no seed noticed");
    }
}
