// One peer's schedule alone: fences, answers, priorities, patience, and that a microbatch costs no allocation.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Schedule;

public class PeerScheduleTests
{
    const int Before = 1, Self = 2, After = 3, OtherAfter = 4, Stranger = 9;
    readonly PeerEffects _effects = new();
    readonly PeerSchedule _schedule;
    Instant _now = Instant.FromSeconds(1);

    public PeerScheduleTests()
    {
        var settings = new ScheduleSettings { StageCount = 3, MicrobatchCount = 64, CodeBytes = 1000, SlackSlots = 1 };
        _schedule = new PeerSchedule(settings, new PathfinderSettings(), Id(Self), 1);
        _schedule.HandlePlacement(Placed(5), _now, _effects);
        foreach (int peer in (int[])[Before, After, OtherAfter])
            _schedule.HandleLink(Id(peer), true, _now, _effects);
        _schedule.Begin(1, 7, _now, _effects);
        _effects.Clear();
    }

    static PeerId Id(int number) => PeerId.FromNumber(number);

    static Placement Placed(int epoch, int admitted = 5) => new(epoch, [new(0, 1), new(1, 1), new(2, 1)],
    [
        new(Id(Before), 0, admitted, MemberState.Active), new(Id(Self), 1, 5, MemberState.Active),
        new(Id(After), 2, 5, MemberState.Active), new(Id(OtherAfter), 2, 5, MemberState.Active),
    ]);

    void Receive(int from, WorkKind kind, int microbatch, int step = 7, int epoch = 5, int attempt = 1, int stage = 1) =>
        _schedule.HandleMessage(Id(from), new WorkMessage(kind, new WorkId(epoch, step, microbatch, stage, attempt)), _now, _effects);

    (Verdict, RefusalReason) Answer()
    {
        for (int i = _effects.Count - 1; i >= 0; i--)
        {
            if (_effects[i].Kind == PeerEffectKind.Send && _effects[i].Message.Kind == WorkKind.Answer)
                return (_effects[i].Message.Verdict, _effects[i].Message.Reason);
        }
        throw new InvalidOperationException("no answer");
    }

    PeerEffect? Find(PeerEffectKind kind, WorkKind message = WorkKind.Answer)
    {
        for (int i = 0; i < _effects.Count; i++)
        {
            if (_effects[i].Kind == kind && (kind != PeerEffectKind.Send || _effects[i].Message.Kind == message))
                return _effects[i];
        }
        return null;
    }

    [Theory]
    [InlineData(Before, 7, 5, 1, (int)Verdict.Accepted, (int)RefusalReason.None)]
    [InlineData(Before, 6, 5, 1, (int)Verdict.Refused, (int)RefusalReason.StaleStep)]
    [InlineData(Before, 8, 5, 1, (int)Verdict.Busy, (int)RefusalReason.NotYet)]
    [InlineData(Before, 7, 4, 1, (int)Verdict.Refused, (int)RefusalReason.StaleEpoch)]
    [InlineData(Before, 7, 5, 2, (int)Verdict.Refused, (int)RefusalReason.WrongStage)]
    [InlineData(After, 7, 5, 1, (int)Verdict.Refused, (int)RefusalReason.WrongStage)]
    [InlineData(Stranger, 7, 5, 1, (int)Verdict.Refused, (int)RefusalReason.StaleEpoch)]
    [InlineData(Stranger, 7, 6, 1, (int)Verdict.Busy, (int)RefusalReason.NotYet)]
    public void ForwardArrives_FromSomebodyAtSomeTime_AnsweredByName(int from, int step, int epoch, int stage, int verdict, int reason)
    {
        Receive(from, WorkKind.Forward, 0, step, epoch, 1, stage);
        Assert.Equal(((Verdict)verdict, (RefusalReason)reason), Answer());
        Assert.Equal((Verdict)verdict == Verdict.Accepted ? 1 : 0, _schedule.InFlight);
    }

    [Fact]
    public void AllSlotsTaken_OneMore_Busy()
    {
        for (int m = 0; m < _schedule.SlotCount; m++)
            Receive(Before, WorkKind.Forward, m);
        Receive(Before, WorkKind.Forward, 60);
        Assert.Equal((Verdict.Busy, RefusalReason.NoSlot), Answer());
        Assert.Equal(_schedule.SlotCount, _schedule.InFlight);
    }

    [Fact]
    public void SameMicrobatchAgain_Duplicate_ComputedOnce()
    {
        Receive(Before, WorkKind.Forward, 0);
        _effects.Clear();
        Receive(Before, WorkKind.Forward, 0, attempt: 2);
        Assert.Equal((Verdict.Duplicate, RefusalReason.None), Answer());
        Assert.Null(Find(PeerEffectKind.Compute));
        Assert.Equal(1, _schedule.InFlight);
    }

    // Forward of m computed and accepted by the next stage; returns who has it.
    int HandOn(int microbatch)
    {
        Receive(Before, WorkKind.Forward, microbatch);
        return FinishForward(microbatch);
    }

    int FinishForward(int microbatch)
    {
        _effects.Clear();
        _now += TimeSpan.FromMilliseconds(10);
        _schedule.HandleComputed(ComputeKind.Forward, 7, microbatch, 0, _now, _effects);
        PeerEffect sent = Find(PeerEffectKind.Send, WorkKind.Forward)!.Value;
        int to = sent.Peer == Id(After) ? After : OtherAfter;
        Accept(to, sent.Message);
        return to;
    }

    void Accept(int from, WorkMessage sent) => _schedule.HandleMessage(Id(from),
        new WorkMessage(WorkKind.Answer, sent.Work) { Answered = sent.Kind, Verdict = Verdict.Accepted, Load = new PeerLoad(0, 4, 0, 0, 0) }, _now, _effects);

    [Fact]
    public void GradientAndForwardWait_ComputeEnds_BackwardGoesFirst()
    {
        int holder = HandOn(0);
        Receive(Before, WorkKind.Forward, 1);
        Receive(Before, WorkKind.Forward, 2);
        Receive(holder, WorkKind.Gradient, 0);
        _effects.Clear();
        _schedule.HandleComputed(ComputeKind.Forward, 7, 1, 0, _now, _effects);
        Assert.Equal((ComputeKind.Backward, 0), (Find(PeerEffectKind.Compute)!.Value.Compute, Find(PeerEffectKind.Compute)!.Value.Microbatch));
    }

    [Fact]
    public void ConnectionCloses_MicrobatchUnfinishedThere_OfferedToTheOtherAtOnceUnderANewAttempt()
    {
        int holder = HandOn(0);
        _effects.Clear();
        _schedule.HandleLink(Id(holder), false, _now, _effects);
        PeerEffect rerouted = Find(PeerEffectKind.Send, WorkKind.Forward)!.Value;
        Assert.Equal(Id(holder == After ? OtherAfter : After), rerouted.Peer);
        Assert.Equal(2, rerouted.Message.Work.Attempt);
    }

    [Fact]
    public void NextHopRemovedAfterItFinished_ItsShareIsOfferedAgain()
    {
        int holder = HandOn(0);
        Receive(holder, WorkKind.Gradient, 0);
        _schedule.HandleComputed(ComputeKind.Backward, 7, 0, 0, _now, _effects);
        _effects.Clear();
        _schedule.HandleLink(Id(holder), false, _now, _effects);
        Assert.Null(Find(PeerEffectKind.Send, WorkKind.Forward));
        Placement placed = Placed(6);
        _schedule.HandlePlacement(placed with { Members = [.. placed.Members.Where(m => m.Peer != Id(holder))] }, _now, _effects);
        Assert.Equal((0, 2), (Find(PeerEffectKind.Send, WorkKind.Forward)!.Value.Message.Work.Microbatch, Find(PeerEffectKind.Send, WorkKind.Forward)!.Value.Message.Work.Attempt));
    }

    [Fact]
    public void UpstreamRemoved_MicrobatchHere_ReplacementFindsItAndGetsTheGradient()
    {
        int holder = HandOn(0);
        Placement placed = Placed(6);
        _effects.Clear();
        _schedule.HandlePlacement(placed with { Members = [new(Id(Stranger), 0, 6, MemberState.Active), .. placed.Members.Skip(1)] }, _now, _effects);
        _schedule.HandleLink(Id(Stranger), true, _now, _effects);
        Receive(holder, WorkKind.Gradient, 0);
        _schedule.HandleComputed(ComputeKind.Backward, 7, 0, 0, _now, _effects);
        _effects.Clear();
        Receive(Stranger, WorkKind.Reattach, 0, epoch: 6, attempt: 2);
        Assert.Equal((Verdict.Accepted, RefusalReason.None), Answer());
        Assert.Equal(Id(Stranger), Find(PeerEffectKind.Send, WorkKind.Gradient)!.Value.Peer);
    }

    [Fact]
    public void OwnProcessWasStopped_FirstTick_NobodyIsSuspected()
    {
        _schedule.HandleTick(_now, _effects);
        HandOn(0);
        _now += TimeSpan.FromSeconds(30);
        _effects.Clear();
        _schedule.HandleTick(_now, _effects);
        Assert.Null(Find(PeerEffectKind.Tell));
        Assert.Null(Find(PeerEffectKind.Send, WorkKind.Forward));
    }

    // A code is sent to the next stage; then ticks of 0.1 s in which both of its peers speak.
    PeerEffect SendOne()
    {
        _schedule.HandleTick(_now, _effects);
        Receive(Before, WorkKind.Forward, 0);
        _effects.Clear();
        _schedule.HandleComputed(ComputeKind.Forward, 7, 0, 0, _now, _effects);
        return Find(PeerEffectKind.Send, WorkKind.Forward)!.Value;
    }

    void Live(double seconds, Action<Instant>? each = null)
    {
        for (Instant until = _now + TimeSpan.FromSeconds(seconds); _now < until;)
        {
            _now += TimeSpan.FromSeconds(0.1);
            foreach (int peer in (int[])[Before, After, OtherAfter])
                _schedule.HandleMessage(Id(peer), new WorkMessage(WorkKind.Status, new WorkId(5, 7, 0, 0, 0)) { Load = new PeerLoad(1, 4, 0, 0, 0) }, _now, _effects);
            each?.Invoke(_now);
            _schedule.HandleTick(_now, _effects);
        }
    }

    Suspicion? Suspected() => (Find(PeerEffectKind.Tell)?.Detail as PeerMessage.Suspects)?.Reason;

    [Fact]
    public void CodeUnderWay_LinkMoves_NobodyIsSuspectedUntilItStandsStill()
    {
        PeerEffect sent = SendOne();
        long bytes = 0;
        Live(20, now => _schedule.HandleAcknowledged(sent.Peer, ++bytes, now));
        Assert.Null(Find(PeerEffectKind.Tell));
        Live(1.5, now => _schedule.HandleAcknowledged(sent.Peer, bytes, now));
        Assert.Null(Suspected());
        Live(0.3, now => _schedule.HandleAcknowledged(sent.Peer, bytes, now));
        Assert.Equal(Suspicion.NoAnswer, Suspected());
    }

    [Fact]
    public void CodeArrived_NoAnswer_SuspectedThoughTheLinkMoves()
    {
        PeerEffect sent = SendOne();
        long bytes = 0;
        Live(5, now => _schedule.HandleAcknowledged(sent.Peer, ++bytes, now));
        _schedule.HandleArrived(sent.Peer, sent.Message, _now);
        Live(1.5, now => _schedule.HandleAcknowledged(sent.Peer, ++bytes, now));
        Assert.Null(Suspected());
        Live(0.3, now => _schedule.HandleAcknowledged(sent.Peer, ++bytes, now));
        Assert.Equal(Suspicion.NoAnswer, Suspected());
    }

    [Fact]
    public void CodeUnderWay_LinkMovesWithoutEnd_OverdueAfterTwoMinutes()
    {
        PeerEffect sent = SendOne();
        long bytes = 0;
        Live(119, now => _schedule.HandleAcknowledged(sent.Peer, ++bytes, now));
        Assert.Null(Suspected());
        Live(2, now => _schedule.HandleAcknowledged(sent.Peer, ++bytes, now));
        Assert.Equal(Suspicion.NoAnswer, Suspected());
    }

    [Fact]
    public void GradientUnderWay_AskedAfterMeanwhile_IsNotSentTwice()
    {
        int holder = HandOn(0);
        Receive(holder, WorkKind.Gradient, 0);
        _effects.Clear();
        _schedule.HandleComputed(ComputeKind.Backward, 7, 0, 0, _now, _effects);
        PeerEffect sent = Find(PeerEffectKind.Send, WorkKind.Gradient)!.Value;
        _effects.Clear();
        Receive(Before, WorkKind.Reattach, 0, attempt: 2);
        Assert.Equal((Verdict.Accepted, RefusalReason.None), Answer());
        Assert.NotNull(Find(PeerEffectKind.Send, WorkKind.Handed));
        Assert.Null(Find(PeerEffectKind.Send, WorkKind.Gradient));
        _schedule.HandleMessage(Id(Before), new WorkMessage(WorkKind.Answer, sent.Message.Work) { Answered = WorkKind.Gradient, Verdict = Verdict.Accepted }, _now, _effects);
        Receive(Before, WorkKind.Reattach, 0, attempt: 3);
        Assert.NotNull(Find(PeerEffectKind.Send, WorkKind.Gradient));   // it was taken, and is asked for all the same
    }

    // A neighbour that has taken a code owes its compute, not the link behind it.
    [Theory]
    [InlineData(1, true)]
    [InlineData(0, false)]
    public void CodeHeldForLong_SuspectedOnlyIfItMayWaitForTheCompute(int queued, bool isSuspected)
    {
        int holder = HandOn(0);
        _effects.Clear();
        Live(31, now => _schedule.HandleMessage(Id(holder), new WorkMessage(WorkKind.Status, new WorkId(5, 7, 0, 2, 0)) { Load = new PeerLoad(queued, 4, 0, 0, 0) }, now, _effects));
        Assert.Equal(isSuspected ? Suspicion.Overdue : null, Suspected());
    }

    [Fact]
    public void SealedForReduction_BackwardArrives_SumDoesNotChange()
    {
        int holder = HandOn(0);
        HandOn(1);
        Receive(holder, WorkKind.Gradient, 0);
        _schedule.HandleComputed(ComputeKind.Backward, 7, 0, 0, _now, _effects);
        var share = new GradientShare(Id(Self), 1, 0, MicrobatchSet.Of(64, 0));
        _schedule.HandleReduce(new OrchestratorMessage.Reduce(7, 100, [share]), _now, _effects);
        Assert.True(_schedule.IsSealed);
        _effects.Clear();
        Receive(holder, WorkKind.Gradient, 1);
        Assert.Equal((Verdict.Busy, RefusalReason.NotYet), Answer());
        Assert.Null(Find(PeerEffectKind.Compute));
        _schedule.HandleReopen(new OrchestratorMessage.Reopen(7, 100), _now, _effects);
        Assert.False(_schedule.IsSealed);
    }

    [Theory]
    [InlineData((int)MemberState.Active, 1, 2)]
    [InlineData((int)MemberState.Joining, 0, 1)]
    public void SumComplete_Replica_IsGivenTheShareBeforeItIsAskedForUnlessItLoads(int state, int early, int all)
    {
        Placement placed = Placed(6);
        _schedule.HandlePlacement(placed with { Members = [.. placed.Members, new(Id(Stranger), 1, 6, (MemberState)state)] }, _now, _effects);
        int holder = HandOn(0);
        _schedule.HandleMessage(Id(Before), new WorkMessage(WorkKind.AllHanded, new WorkId(6, 7, 0, 1, 0)), _now, _effects);
        Receive(holder, WorkKind.Gradient, 0);
        _effects.Clear();
        _schedule.HandleComputed(ComputeKind.Backward, 7, 0, 0, _now, _effects);
        ulong name = new GradientShare(Id(Self), 1, 0, MicrobatchSet.Of(64, 0)) { AdmittedEpoch = 5 }.Name;
        Assert.Equal(early, Gifts(name));

        // asked for, everybody gets it, and whose connection comes back gets it again
        _schedule.HandleReduce(new OrchestratorMessage.Reduce(7, 100, [new GradientShare(Id(Self), 1, 0, MicrobatchSet.Of(64, 0)) { AdmittedEpoch = 5 }]), _now, _effects);
        Assert.Equal(all, Gifts(name));
        _schedule.HandleLink(Id(Stranger), true, _now, _effects);
        Assert.Equal(all + 1, Gifts(name));
        _schedule.HandleLink(Id(After), false, _now, _effects);
        _schedule.HandleLink(Id(After), true, _now, _effects);
        Assert.Equal(all + 1, Gifts(name));

        _schedule.HandleReopen(new OrchestratorMessage.Reopen(7, 100), _now, _effects);
        _schedule.HandleLink(Id(Stranger), false, _now, _effects);
        _schedule.HandleLink(Id(Stranger), true, _now, _effects);
        Assert.Equal(all + 1, Gifts(name));
    }

    int Gifts(ulong name)
    {
        int count = 0;
        for (int i = 0; i < _effects.Count; i++)
            count += _effects[i] is { Kind: PeerEffectKind.GiveShare } gift && gift.Peer == Id(Stranger) && gift.ShareName == name ? 1 : 0;
        return count;
    }

    [Fact]
    public void ListedShareDiffersFromTheSum_Reduce_Refused()
    {
        int holder = HandOn(0);
        Receive(holder, WorkKind.Gradient, 0);
        _schedule.HandleComputed(ComputeKind.Backward, 7, 0, 0, _now, _effects);
        _effects.Clear();
        _schedule.HandleReduce(new OrchestratorMessage.Reduce(7, 100, []), _now, _effects);
        Assert.IsType<PeerMessage.ReduceRefused>(Find(PeerEffectKind.Tell)!.Value.Detail);
        Assert.False(_schedule.IsSealed);
    }

    [Fact]
    public void SteadyState_SixtyMicrobatches_NoAllocation()
    {
        HandOn(0);
        RoundTrip(1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int m = 2; m < 62; m++)
            RoundTrip(m);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    void RoundTrip(int microbatch)
    {
        int holder = HandOn(microbatch);
        Receive(holder, WorkKind.Gradient, microbatch);
        _schedule.HandleComputed(ComputeKind.Backward, 7, microbatch, 0, _now, _effects);
        Accept(Before, new WorkMessage(WorkKind.Gradient, new WorkId(5, 7, microbatch, 0, 1)));
        _schedule.HandleTick(_now, _effects);
        _effects.Clear();
    }

    [Fact]
    public void MeasuredSlow_ThenNoWorkForTwentyServices_CountsAsUnmeasured()
    {
        Receive(Before, WorkKind.Forward, 0);
        _now += TimeSpan.FromSeconds(1);
        _schedule.HandleComputed(ComputeKind.Forward, 7, 0, 0, _now, _effects);
        Assert.Equal(3e9, _schedule.ServiceNanoseconds, 1.0);   // one forward of a second: two more for the backward
        Receive(Before, WorkKind.Cancel, 0);
        for (int tick = 0; tick < 20 * 3 * 5 - 1; tick++)
        {
            _now += TimeSpan.FromSeconds(0.2);
            _schedule.HandleTick(_now, _effects);
            Assert.NotEqual(0, _schedule.ServiceNanoseconds);
        }
        _now += TimeSpan.FromSeconds(0.2);
        _schedule.HandleTick(_now, _effects);
        _now += TimeSpan.FromSeconds(0.2);
        _schedule.HandleTick(_now, _effects);
        Assert.Equal(0, _schedule.ServiceNanoseconds);
    }

    [Fact]
    public void ColdStart_SecondForwardAHundredTimesFaster_IsBelieved()
    {
        Receive(Before, WorkKind.Forward, 0);
        Receive(Before, WorkKind.Forward, 1);
        _now += TimeSpan.FromSeconds(1);
        _schedule.HandleComputed(ComputeKind.Forward, 7, 0, 0, _now, _effects);
        _now += TimeSpan.FromSeconds(0.01);
        _schedule.HandleComputed(ComputeKind.Forward, 7, 1, 0, _now, _effects);
        Assert.Equal(0.03e9, _schedule.ServiceNanoseconds, 1e3);
    }
}
