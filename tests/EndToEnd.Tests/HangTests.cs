// A compute thread that hangs in a real process, by the drill that operators have (`join --rehearse-hang`): from the moment it
// hangs to its removal. The process, its heartbeats and its links go on.
//   a sum, an apply   5 s and until it is said and heard (their own time is milliseconds here)
//   its first load    8 x (2 s + bytes / 50 MB/s) = 16 s, then the others begin
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Run;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
public class HangTests(ITestOutputHelper output)
{
    static readonly bool _isLong = Environment.GetEnvironmentVariable("ORION_LONG") == "1";
    static readonly double _slack = _isLong ? 1.5 : 6;

    static DateTime TimeOf(JsonObject line) => DateTime.Parse((string)line["time"]!, CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal | DateTimeStyles.AssumeUniversal);

    [Theory]
    [InlineData("sum:4:9", "the sum of a reduction", 5.0)]
    [InlineData("apply:4:9", "an optimizer step", 5.0)]
    [InlineData("load:1:20", "making room for its stage", 16.0)]
    public void ComputeThread_HangsInATask_RemovedInItsTimeTheRunGoesOnAndItComesBack(string drill, string words, double patience)
    {
        Assert.SkipWhen(!_isLong && !drill.StartsWith("apply", StringComparison.Ordinal), "as the apply, which is tested (the simulator hangs in every task); set ORION_LONG=1 to run it");
        RunConfig config = SwarmUnderTest.Small(stages: 2, replicas: 2, steps: 20);
        using SwarmUnderTest run = new(config);
        run.Swarm.RehearseSeconds.Fill(0.06);
        run.Swarm.RehearseHangs[0] = drill;
        run.Start();
        PeerId victim = run.Swarm.Ids[0];
        Assert.True(SwarmUnderTest.Wait(() => Removals(run, victim).Any(), 90), run.Logs());
        JsonObject removed = Removals(run, victim).First();
        JsonObject said = run.Events("note").First(note => ((string)note["text"]!).Contains("rehearses a failure", StringComparison.Ordinal));
        double seconds = (TimeOf(removed) - TimeOf(said)).TotalSeconds;
        output.WriteLine($"{drill}: removed after {seconds:F2} s: {removed["Reason"]}");
        Assert.Contains("its compute has not ended", (string)removed["Reason"]!, StringComparison.Ordinal);
        Assert.Contains(words, (string)removed["Reason"]!, StringComparison.Ordinal);
        Assert.InRange(seconds, patience - 0.5, patience + _slack);
        int step = run.Step;
        run.WaitForStep(step + 2, 30);
        // awake again, it asks, takes its replica's state and works
        int stage = 0;
        Assert.True(SwarmUnderTest.Wait(() => run.Step >= config.Steps || IsActive(run, victim, out stage), 60), run.Logs());
        run.WaitForEnd(120);
        run.RequireExactlyOnce(config);
        Assert.Single(run.Events("PeerRemoved"), line => ((string)line["Reason"]!).Contains("its compute has not ended", StringComparison.Ordinal));
    }

    static IEnumerable<JsonObject> Removals(SwarmUnderTest run, PeerId peer) => run.Events("PeerRemoved").Where(line => (string)line["Peer"]! == peer.ToString());

    static bool IsActive(SwarmUnderTest run, PeerId peer, out int stage)
    {
        bool isPlaced = run.Swarm.Orchestrator.Placement.TryFind(peer, out Member member);
        stage = member.Stage;
        return isPlaced && member.State == MemberState.Active;
    }

    static bool IsJoining(SwarmUnderTest run, PeerId peer) =>
        run.Swarm.Orchestrator.Placement.TryFind(peer, out Member member) && member.State == MemberState.Joining;

    [Fact]
    public void SenderOfAState_DiesWhileANewcomerWaits_ItTakesAnothersAtOnce()
    {
        RunConfig config = SwarmUnderTest.Small(stages: 1, replicas: 3, steps: 30);
        using SwarmUnderTest run = new(config);
        run.Swarm.RehearseSeconds.Fill(0.06);
        int[] byId = [.. Enumerable.Range(0, 3).OrderBy(i => run.Swarm.Ids[i])];
        (int sender, int newcomer) = (byId[0], byId[2]);   // a state comes from the first in the order of ids
        run.Swarm.RehearseHangs[sender] = "copy:1:60";
        run.Start();
        run.WaitForStep(3);
        run.Kill(newcomer);
        run.Swarm.Peers[newcomer]!.WaitForExit();
        run.Swarm.StartPeer(newcomer);
        // it is back, without a state, and the copy for it has begun
        Assert.True(SwarmUnderTest.Wait(() => IsJoining(run, run.Swarm.Ids[newcomer]) && run.Events("note").Any(note => ((string)note["text"]!).Contains("copying its state", StringComparison.Ordinal)), 60), run.Logs());
        DateTime at = run.Kill(sender);
        Assert.True(SwarmUnderTest.Wait(() => IsActive(run, run.Swarm.Ids[newcomer], out _), 30), run.Logs());
        double seconds = (DateTime.UtcNow - at).TotalSeconds;
        output.WriteLine($"killed while it sent: the newcomer works after {seconds:F2} s");
        // a crash is known within a second, the copy is small
        Assert.InRange(seconds, 0, 2 + _slack);
        run.WaitForEnd(120);
        run.RequireExactlyOnce(config);
    }
}
