// A peer towards the orchestrator: when it asks to join, and when it waits.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Routing;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Schedule;

public class PeerCoreTests
{
    static readonly PeerId _self = PeerId.FromNumber(1);
    readonly PeerEffects _effects = new();
    readonly PeerCore _core = new(
        new PeerProfile(_self, "1.0", "model", "tokenizer", 1L << 40, 1, ""), "token",
        new ScheduleSettings { StageCount = 1, MicrobatchCount = 4, CodeBytes = 1000 }, new PathfinderSettings(), 1);

    Instant _now = Instant.FromSeconds(1);

    IEnumerable<PeerMessage> Said => Enumerable.Range(0, _effects.Count).Select(i => _effects[i].Detail).OfType<PeerMessage>();

    bool HasAsked => Said.Any(message => message is PeerMessage.Join);

    string FailLoad()
    {
        _core.HandleControl(new OrchestratorMessage.Welcome(1, new Placement(1, [new(0, 1)], [new(_self, 0, 1, MemberState.Joining)])), _now, _effects);
        _core.HandleControl(new OrchestratorMessage.LoadState(1, 5, PeerId.None), _now, _effects);
        _effects.Clear();
        _core.HandleLoaded(5, "the checkpoint is torn", _now, _effects);
        string reason = Assert.Single(Said.OfType<PeerMessage.StateFailed>()).Reason;
        _core.HandleControl(new OrchestratorMessage.Leave("could not load its state", true), _now, _effects);
        return reason;
    }

    // Seconds from now until it asks, by ticks of 50 ms.
    double SecondsUntilItAsks()
    {
        Instant began = _now;
        while (!HasAsked)
        {
            _now += TimeSpan.FromMilliseconds(50);
            _effects.Clear();
            _core.HandleTick(_now, _effects);
            Assert.True((_now - began).TotalSeconds < 120, "it never asks again");
        }
        _effects.Clear();
        return (_now - began).TotalSeconds;
    }

    [Fact]
    public void LoadFails_AgainAndAgain_AsksLaterAndLaterAndSaysSo()
    {
        _core.HandleOrchestratorConnected(_now, _effects);
        Assert.True(HasAsked);
        double[] expected = [1, 2, 4, 8, 16, 32, 60, 60];
        for (int i = 0; i < expected.Length; i++)
        {
            string reason = FailLoad();
            Assert.Contains("the checkpoint is torn", reason);
            Assert.Contains($"asks again in {expected[i]:F0} s", reason);
            Assert.Equal(i > 0, reason.Contains($"{i + 1} times in a row", StringComparison.Ordinal));
            Assert.False(HasAsked);
            Assert.Equal(expected[i], SecondsUntilItAsks(), 0.051);
        }
    }

    [Fact]
    public void LoadFailed_ConnectionComesBackMeanwhile_WaitsAllTheSame()
    {
        _core.HandleOrchestratorConnected(_now, _effects);
        FailLoad();
        _core.HandleOrchestratorLost();
        _effects.Clear();
        _core.HandleOrchestratorConnected(_now, _effects);
        Assert.False(HasAsked);
        Assert.Equal(1, SecondsUntilItAsks(), 0.051);
    }

    [Fact]
    public void LoadSucceeds_NextFailure_WaitsAsAtFirst()
    {
        _core.HandleOrchestratorConnected(_now, _effects);
        FailLoad();
        SecondsUntilItAsks();
        FailLoad();
        SecondsUntilItAsks();
        _core.HandleControl(new OrchestratorMessage.Welcome(1, new Placement(1, [new(0, 1)], [new(_self, 0, 1, MemberState.Joining)])), _now, _effects);
        _core.HandleControl(new OrchestratorMessage.LoadState(1, 5, PeerId.None), _now, _effects);
        _core.HandleLoaded(5, "", _now, _effects);
        _core.HandleControl(new OrchestratorMessage.Leave("lease lost", true), _now, _effects);
        Assert.True(HasAsked);   // it had its state: no reason to wait
        FailLoad();
        Assert.Equal(1, SecondsUntilItAsks(), 0.051);
    }

    [Fact]
    public void SentAwayWhileItsComputeHangs_AsksWhenTheComputeEnds()
    {
        _core.HandleOrchestratorConnected(_now, _effects);
        _core.HandleControl(new OrchestratorMessage.Welcome(1, new Placement(1, [new(0, 1)], [new(_self, 0, 1, MemberState.Active)])), _now, _effects);
        _core.HandleControl(new OrchestratorMessage.LoadState(1, 5, PeerId.None), _now, _effects);
        _core.HandleLoaded(5, "", _now, _effects);
        _core.HandleTick(_now, _effects);
        _effects.Clear();
        _core.HandleGranted(6, 1, 0, _now, _effects);
        Assert.Equal(PeerEffectKind.Compute, _effects[0].Kind);
        for (int tick = 0; tick < 100; tick++)
        {
            _now += TimeSpan.FromMilliseconds(50);
            _effects.Clear();
            _core.HandleTick(_now, _effects);
        }
        _core.HandleControl(new OrchestratorMessage.Leave("its compute has not ended for 5 s", true), _now, _effects);
        Assert.False(HasAsked);
        _effects.Clear();
        _core.Schedule.HandleComputed(ComputeKind.Forward, 6, 0, 0, _now, _effects);
        Assert.Equal(0, SecondsUntilItAsks(), 0.051);
    }

    [Fact]
    public void AskedToLeave_AsAMember_SaysSoAgainOnEveryConnectionUntilItIsLetGo()
    {
        _core.HandleOrchestratorConnected(_now, _effects);
        _core.HandleControl(new OrchestratorMessage.Welcome(1, new Placement(1, [new(0, 1)], [new(_self, 0, 1, MemberState.Active)])), _now, _effects);
        _effects.Clear();
        _core.HandleLeaveAsked(_effects);
        Assert.Single(Said, message => message is PeerMessage.AsksToLeave);
        Assert.Equal(PeerState.Member, _core.State);   // what it holds is needed until the orchestrator says otherwise
        _core.HandleOrchestratorLost();
        _effects.Clear();
        _core.HandleOrchestratorConnected(_now, _effects);
        Assert.Collection(Said, message => Assert.IsType<PeerMessage.Hello>(message), message => Assert.IsType<PeerMessage.AsksToLeave>(message));
        _core.HandleControl(new OrchestratorMessage.Leave("lease lost", MayRejoin: true), _now, _effects);
        Assert.Equal(PeerState.Ended, _core.State);
    }

    [Fact]
    public void AskedToLeave_WithoutAStage_IsGoneAtOnce()
    {
        _core.HandleOrchestratorConnected(_now, _effects);
        _core.HandleLeaveAsked(_effects);
        Assert.Equal(PeerState.Ended, _core.State);
    }
}
