// How long the orchestrator waits for a member that lives: by what its compute thread is at, by what a reduction usually takes,
// and by the bytes of a state.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Control;

public partial class OrchestratorTests
{
    // Time passes; every member says at each heartbeat what its compute thread is at (nothing, unless it is named).
    void Live(double seconds, int[] peers, int at = 0, OpenTask open = default, bool bulkMoves = false)
    {
        Instant until = _now + TimeSpan.FromSeconds(seconds);
        while (_now < until)
        {
            _now += TimeSpan.FromSeconds(0.25);
            foreach (int peer in peers)
                Say(peer, new PeerMessage.Heartbeat(0, 0, peer == at ? open with { Lasted = open.Lasted + (_now - until) + TimeSpan.FromSeconds(seconds) } : default, bulkMoves ? ++_bulkBytes : _bulkBytes));
            Do(new OrchestratorEvent.Tick());
        }
    }

    long _bulkBytes;

    bool IsMember(int peer) => _core.Placement.TryFind(PeerId.FromNumber(peer), out _);

    string WhyRemoved(int peer) => _records.OfType<DurableRecord.PeerRemoved>().Single(removed => removed.Peer == PeerId.FromNumber(peer)).Reason;

    void ReduceOnce()
    {
        Contribute(1, 0);
        Contribute(2, 1);
        _now += TimeSpan.FromSeconds(3);
        Reduce(1, 1);
        Reduce(2, 1);
        Say(1, new PeerMessage.Applied(_core.CommittedStep, 0));
        Say(2, new PeerMessage.Applied(_core.CommittedStep, 0));
    }

    [Fact]
    public void ReductionStandsStill_KnownTime_EightTimesThatAndNotTwoMinutes()
    {
        RunTwoReplicas();
        ReduceOnce();
        Contribute(1, 0);
        Contribute(2, 1);
        Live(23.5, [1, 2]);
        Assert.True(IsMember(2));
        Live(1, [1, 2]);
        Assert.False(IsMember(2));
        Assert.Contains("the reduction of step 2 was not done within 24 s", WhyRemoved(2));
    }

    [Fact]
    public void ReductionStandsStill_FirstOfAMember_TwoMinutes()
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Contribute(2, 1);
        Live(119, [1, 2]);
        Assert.True(IsMember(2));
        Live(2, [1, 2]);
        Assert.False(IsMember(2));
    }

    [Fact]
    public void ReductionStandsStill_FirstOfALargeStage_TwoMinutesAndWhatItsBytesTake()
    {
        ControlSettings settings = Settings(blockBytes: 1_000_000_000);
        Begin(settings);
        Join(1);
        Join(2);
        Load(1, 2);
        Contribute(1, 0);
        Contribute(2, 1);
        double bytes = settings.Model.BlockBytes.Sum();
        Assert.True(bytes > 0);
        Live(119 + (bytes / 10e6), [1, 2]);   // at 10 MB/s
        Assert.True(IsMember(2));
        Live(2, [1, 2]);
        Assert.False(IsMember(2));
    }

    [Fact]
    public void SharesMove_HoweverLong_NobodyLeavesUntilTheyStandStill()
    {
        RunTwoReplicas();
        ReduceOnce();
        Contribute(1, 0);
        Contribute(2, 1);
        Live(600, [1, 2], bulkMoves: true);
        Assert.True(IsMember(1) && IsMember(2));
        Live(23.5, [1, 2]);
        Assert.True(IsMember(2));
        Live(1, [1, 2]);
        Assert.False(IsMember(2));
    }

    [Fact]
    public void StateMoves_LongerThanItsBytesShouldTake_NewcomerStaysUntilItStandsStill()
    {
        HandOverToAThird();
        Live(300, [1, 2, 3], bulkMoves: true);
        Assert.Equal(RunPhase.Handover, _core.Phase);
        Live(14.5, [1, 2, 3]);
        Assert.True(IsMember(3));
        Live(1, [1, 2, 3]);
        Assert.False(IsMember(3));
        Assert.Equal(RunPhase.Running, _core.Phase);
    }

    [Fact]
    public void ReductionLasts_ComputeThreadIsAtWork_NobodyLeavesWhileItIsWithinItsOwnTime()
    {
        RunTwoReplicas();
        ReduceOnce();
        Contribute(1, 0);
        Contribute(2, 1);
        Reduce(1, 1);
        var sum = new OpenTask(ComputeTask.Sum, TimeSpan.Zero, TimeSpan.FromSeconds(9));
        Live(71.5, [1, 2], at: 2, sum);
        Assert.True(IsMember(2));
        Live(1, [1, 2], at: 2, sum with { Lasted = TimeSpan.FromSeconds(71.5) });
        Assert.False(IsMember(2));
        Assert.Contains("the sum of a reduction, which takes it 9.00 s", WhyRemoved(2));
        Assert.Equal(2, _core.CommittedStep);   // the other one had the sum
    }

    // One stage, two replicas, a third joins and takes its state.
    PeerId HandOverToAThird()
    {
        RunTwoReplicas();
        Join(3);
        ReduceOnce();
        Assert.Equal(RunPhase.Handover, _core.Phase);
        return Last<OrchestratorMessage.LoadState>(3).Source;
    }

    [Fact]
    public void SourceOfAStateIsGone_HandoverGoesOnFromAnother()
    {
        PeerId source = HandOverToAThird();
        Do(new OrchestratorEvent.Disconnected(source, IsGone: true));
        Assert.NotEqual(source, Last<OrchestratorMessage.LoadState>(3).Source);
        Assert.False(Last<OrchestratorMessage.LoadState>(3).Source.IsNone);
        Load(3);
        Assert.Equal(RunPhase.Running, _core.Phase);
    }

    [Fact]
    public void NewcomerHangsInItsLoad_Leaves_TheStepsGoOn()
    {
        HandOverToAThird();
        var load = new OpenTask(ComputeTask.Load, TimeSpan.Zero, TimeSpan.FromSeconds(2));
        Live(15.5, [1, 2, 3], at: 3, load);
        Assert.Equal(RunPhase.Handover, _core.Phase);
        Live(1, [1, 2, 3], at: 3, load with { Lasted = TimeSpan.FromSeconds(15.5) });
        Assert.False(IsMember(3));
        Assert.Equal(RunPhase.Running, _core.Phase);
    }

    // 12 GB at 10 MB/s are 1200 s, on top of the two minutes that any load has.
    [Fact]
    public void StateIsLarge_Newcomer_HasTimeByItsBytes()
    {
        Begin(Settings(blockBytes: 12_000_000_000));
        Join(1);
        Join(2);
        Load(1, 2);
        Join(3);
        ReduceOnce();
        Assert.Equal(RunPhase.Handover, _core.Phase);
        Live(1319, [1, 2, 3]);
        Assert.True(IsMember(3));
        Live(2, [1, 2, 3]);
        Assert.False(IsMember(3));
        Assert.Contains("was not loaded within 1320 s", WhyRemoved(3));
    }
}
