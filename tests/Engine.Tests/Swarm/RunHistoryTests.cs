// What an event log tells of a past step: rollbacks, and several logs in one directory.
using System.Text.Json.Nodes;
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting.Swarm;

namespace OrionNative.Engine.Tests.Swarm;

public class RunHistoryTests
{
    readonly List<JsonObject> _events = [];
    int _record;

    static PeerId Peer(int number) => PeerId.FromNumber(number);

    void Log(DurableRecord record)
    {
        JsonObject line = RunHistory.Details(++_record, ControlCodec.Text(record));
        (line["id"], line["time"], line["event"]) = (_events.Count + 1, $"2026-11-23T05:00:{_events.Count:D2}Z", record.GetType().Name);
        _events.Add(JsonNode.Parse(line.ToJsonString())!.AsObject());
    }

    void Begin(params int[] peers)
    {
        _record = 0;
        Log(new DurableRecord.TermStarted(1));
        foreach (int peer in peers)
        {
            Log(new DurableRecord.PeerAdmitted(new PeerProfile(Peer(peer), "1", "m", "t", 1, 1, $"10.0.0.{peer}:1")));
        }

        Place(1, peers);
    }

    void Place(int epoch, params int[] peers) => Log(new DurableRecord.PlacementPublished(
        new Placement(epoch, [new StageSlice(0, 3)], [.. peers.Select(peer => new Member(Peer(peer), 0, 1, MemberState.Active))])));

    void Commit(int step, double loss, params (int Peer, int[] Microbatches)[] sums) => Log(new DurableRecord.StepCommitted(0, step, 1, 2, loss)
    {
        Shares = [.. sums.Select(sum => new GradientShare(Peer(sum.Peer), 0, 0, MicrobatchSet.Of(4, sum.Microbatches)))],
    });

    PastStep At(int step) => RunHistory.At(_events, new RunConfig { Replicas = 2 }, step);

    [Fact]
    public void Step_OfALog_ShowsTheMembersOfThenAndWhatTheySummed()
    {
        Begin(1, 2);
        Commit(1, 5.5, (1, [0, 2, 3]), (2, [1]));
        Place(2, 1);
        Commit(2, 5.4, (1, [0, 1, 2, 3]));
        PastStep first = At(1);
        Assert.Equal([Peer(1), Peer(2)], first.State.View(default).Select(member => member.Profile.Peer).Order());
        Assert.Equal((3, 1), (first.Summed(Peer(1)), first.Summed(Peer(2))));
        Assert.Equal("2026-11-23T05:00:04Z", first.Time);
        MemberView last = Assert.Single(At(2).State.View(default));
        Assert.Equal("10.0.0.1:1", last.Profile.Address);
        Assert.Equal(2, At(2).State.Placement.Epoch);
    }

    [Fact]
    public void Step_CommittedAgainAfterARollback_IsTheLaterOne()
    {
        Begin(1);
        Commit(1, 5.5, (1, [0, 1, 2, 3]));
        Commit(2, 5.4, (1, [0, 1, 2, 3]));
        Log(new DurableRecord.RolledBack(1, 2, 0, "the last holder is gone"));
        Commit(1, 5.3, (1, [0, 1, 2, 3]));
        Assert.Equal((5.3, 1), (At(1).Commit.Loss, At(1).State.Branch));
        Assert.Equal((5.4, 0), (At(2).Commit.Loss, At(2).State.Branch));
    }

    [Fact]
    public void Logs_OneAfterTheOther_AreNotMixed()
    {
        Begin(1, 2);
        Commit(1, 5.5, (1, [0, 1, 2, 3]));
        _events.Add(new JsonObject { ["id"] = 99, ["time"] = "2026-11-23T06:00:00Z", ["event"] = "note", ["text"] = "resumed" });
        Begin(3);
        Commit(2, 5.4, (3, [0, 1, 2, 3]));
        Assert.Equal(Peer(3), Assert.Single(At(2).State.View(default)).Profile.Peer);
        Assert.Equal(2, At(1).State.View(default).Length);
    }

    [Fact]
    public void Step_ThatNobodyCommitted_IsRefusedWithTheLastOne()
    {
        Assert.Contains("no committed step", Assert.Throws<IOException>(() => At(1)).Message);
        Begin(1);
        Commit(1, 5.5, (1, [0, 1, 2, 3]));
        Assert.Contains("its last one is of step 1", Assert.Throws<IOException>(() => At(7)).Message);
    }
}
