// `plan` as an operator calls it, and what it predicts beside what a swarm of real processes then takes.
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Run;
using OrionNative.Net.Links;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
public class PlanTests(ITestOutputHelper output)
{
    // the state machines under virtual time do not know what sockets, digests and the emulation of links cost on shared processors
    const double FactorMost = 1.6;

    [Fact]
    public void Plan_OfAnEightBillionModelOnCards_IsOneObjectAndAReport()
    {
        using TemporaryFolder folder = new();
        EngineResult result = EngineProcess.Run(
            folder.Path, "plan", "--model", "8b", "--vocabulary", "128256", "--stages", "8", "--microbatches", "64", "--recompute", "block", "--sequence", "8192",
            "--microbatch-size", "1", "--peer-device", "h100", "--link", "1000mbit,20ms", "--json").Succeeded();
        JsonObject plan = result.Json;
        Assert.True((bool)plan["fits"]!);
        Assert.True((bool)plan["step"]!["isSimulated"]!);
        Assert.Equal(8, plan["stages"]!.AsArray().Count);
        // 8192 tokens of 64 bf16 values, 8193 ids of four bytes, a header of 112
        Assert.Equal((8192L * 64 * 2) + (8193 * 4) + 112, (long)plan["boundary"]!["forwardBytes"]!);
        Assert.All(result.Error.Split('\n'), line => Assert.InRange(line.Length, 0, 80));
        Assert.Contains("an assumption", result.Error.ReplaceLineEndings(" "));
    }

    [Theory]
    [InlineData(4, 1, "perfect")]
    [InlineData(2, 2, "orion")]
    public void Step_OfAPlanForThisMachine_IsWhatTheSwarmTakes(int stages, int replicas, string link)
    {
        if (Environment.GetEnvironmentVariable("ORION_LONG") is null)
        {
            Assert.Skip("times real swarms; set ORION_LONG=1 to run it on a machine at rest");
        }

        RunConfig config = new() { Stages = stages, Replicas = replicas, Steps = 7, Sequence = 256, MicrobatchSize = 4, Microbatches = 32, CheckpointEvery = 0 };
        using TemporaryFolder folder = new();
        string[] words = ["plan", "--stages", Text(stages), "--replicas", Text(replicas), "--sequence", "256", "--microbatch-size", "4", "--microbatches", "32", "--here", "--link", link, "--json"];
        double predicted = (double)EngineProcess.Run(folder.Path, words).Succeeded().Json["step"]!["seconds"]!;
        using SwarmUnderTest run = new(config, link == "perfect" ? null : LinkProfile.Named[link].Profile);
        run.Start();
        run.WaitForEnd(180);
        // the first step waits for the peers, in the next two they still compile
        double[] steps = [.. new RunFiles(run.RunPath).Metrics.Skip(3).Select(step => (double)step["seconds"]!).Order()];
        double measured = steps[steps.Length / 2];
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{stages} x {replicas}, {link}: predicted {predicted:F3} s a step, measured {measured:F3} s, ratio {measured / predicted:F2}"));
        Assert.InRange(measured / predicted, 1 / FactorMost, FactorMost);
    }

    static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
