// The orchestrator's core alone, with hand-written peers: admission, commit arithmetic, losses around a commit, restart.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Control;

public partial class OrchestratorTests
{
    const string Token = "a secret";
    readonly List<DurableRecord> _records = [];
    readonly List<(PeerId Peer, OrchestratorMessage Message)> _sent = [];
    Orchestrator _core;
    Instant _now = Instant.FromSeconds(1);

    static ControlSettings Settings(int stages = 1, int replicas = 2, long blockBytes = 0) => new()
    {
        Version = "1.0",
        ModelHash = "model",
        TokenizerHash = "tokenizer",
        StageCount = stages,
        ReplicaCount = replicas,
        MicrobatchCount = 2,
        StepCount = 3,
        Model = ModelCosts.Even(stages) with { BlockBytes = [.. Enumerable.Repeat(blockBytes, stages)] },
        GrantWindow = 2,
        ClipNorm = 1,
        CheckpointEvery = 0,
    };

    public OrchestratorTests() => _core = new Orchestrator(Settings());

    void Begin(ControlSettings settings, int tokenUses = 8)
    {
        _core = new Orchestrator(settings);
        Do(new OrchestratorEvent.Started());
        Do(new OrchestratorEvent.TokenIssued(JoinTokens.Hash(Token), tokenUses, ExpiresUnixSeconds: 1000));
    }

    void Do(OrchestratorEvent input)
    {
        foreach (OrchestratorEffect effect in _core.Step(input, _now))
        {
            if (effect is OrchestratorEffect.Persist persist)
                _records.Add(persist.Record);
            else if (effect is OrchestratorEffect.Send send)
                _sent.Add((send.Peer, send.Message));
        }
    }

    void Say(int peer, PeerMessage message, long unixSeconds = 10) =>
        Do(new OrchestratorEvent.Received(PeerId.FromNumber(peer), message, unixSeconds));

    static PeerProfile Profile(int peer, string version = "1.0", string model = "model", string tokenizer = "tokenizer", long memory = 1L << 40) =>
        new(PeerId.FromNumber(peer), version, model, tokenizer, memory, 1, "");

    void Join(int peer) => Say(peer, new PeerMessage.Join(Profile(peer), Token));

    T Last<T>(int peer) where T : OrchestratorMessage => _sent.Where(s => s.Peer == PeerId.FromNumber(peer)).Select(s => s.Message).OfType<T>().Last();

    int Count<T>() where T : DurableRecord => _records.OfType<T>().Count();

    void Load(params int[] peers)
    {
        foreach (int peer in peers)
        {
            OrchestratorMessage.LoadState load = Last<OrchestratorMessage.LoadState>(peer);
            Say(peer, new PeerMessage.StateLoaded(load.AdmittedEpoch, load.Step));
        }
    }

    // One stage, two replicas, running step 1.
    void RunTwoReplicas()
    {
        Begin(Settings());
        Join(1);
        Join(2);
        Load(1, 2);
        Assert.Equal(RunPhase.Running, _core.Phase);
    }

    void Contribute(int peer, int microbatch, int generation = 0) =>
        Say(peer, new PeerMessage.Contributed(_core.CommittedStep + 1, generation, microbatch, 2));

    void Reduce(int peer, params double[] squares)
    {
        OrchestratorMessage.Reduce reduce = Last<OrchestratorMessage.Reduce>(peer);
        Say(peer, new PeerMessage.Reduced(reduce.Step, reduce.ReduceId, [.. squares]));
    }

    [Theory]
    [InlineData("nonsense", 10, "1.0", "model", "tokenizer", (int)JoinRefusal.UnknownToken, "not one of this run")]
    [InlineData(Token, 1007, "1.0", "model", "tokenizer", (int)JoinRefusal.TokenExpired, "expired 7 s ago")]
    [InlineData(Token, 10, "0.9", "model", "tokenizer", (int)JoinRefusal.OtherVersion, "version 0.9, the run version 1.0")]
    [InlineData(Token, 10, "1.0", "other", "tokenizer", (int)JoinRefusal.OtherModel, "hash other, the run's model")]
    [InlineData(Token, 10, "1.0", "model", "other", (int)JoinRefusal.OtherTokenizer, "hash other, the run's tokenizer")]
    public void BadNewcomer_Refused_WithTheReason(string token, long at, string version, string model, string tokenizer, int refusal, string words)
    {
        Begin(Settings());
        Say(5, new PeerMessage.Join(Profile(5, version, model, tokenizer), token), at);
        var refused = Last<OrchestratorMessage.Refused>(5);
        Assert.Equal((JoinRefusal)refusal, refused.Refusal);
        Assert.Contains(words, refused.Text);
        Assert.Equal(0, Count<DurableRecord.PeerAdmitted>());
    }

    [Fact]
    public void NewcomerGoesBeforeTheRunBegins_NoStageIsCutForIt_BackAgainItIsTaken()
    {
        Begin(Settings());
        Join(1);
        Do(new OrchestratorEvent.Disconnected(PeerId.FromNumber(1), IsGone: true));
        Join(2);
        Assert.Equal(RunPhase.Gathering, _core.Phase);
        Say(1, new PeerMessage.Hello(0, false, new StepReport(0, 0, new MicrobatchSet(2), [], new MicrobatchSet(2))));
        Assert.True(Last<OrchestratorMessage.Leave>(1).MayRejoin);
        Say(1, new PeerMessage.Join(Profile(1), ""));
        Assert.Equal(RunPhase.Loading, _core.Phase);
    }

    [Fact]
    public void StageFull_OneMoreNewcomer_RefusedUntilSomebodyLeaves()
    {
        Begin(Settings(), tokenUses: 20);
        int most = 2 + ControlSettings.SpareReplicas;
        for (int peer = 1; peer <= most; peer++)
            Join(peer);
        Assert.All(Enumerable.Range(1, most), peer => Assert.True(IsMember(peer)));
        Join(most + 1);
        Assert.Equal(JoinRefusal.RunFull, Last<OrchestratorMessage.Refused>(most + 1).Refusal);
        Assert.Contains($"every stage has {most} peers", Last<OrchestratorMessage.Refused>(most + 1).Text);
        Do(new OrchestratorEvent.Disconnected(PeerId.FromNumber(most), IsGone: true));
        Join(most + 1);
        Assert.True(IsMember(most + 1));
    }

    [Fact]
    public void CheckpointNeverWhole_AfterItsPatience_TheNextOneIsAskedFor()
    {
        Begin(Settings() with { CheckpointEvery = 1, StepCount = 9 });
        Join(1);
        Join(2);
        Load(1, 2);
        ReduceOnce();
        Assert.True(Last<OrchestratorMessage.Commit>(1).Checkpoint);
        ReduceOnce();
        Assert.False(Last<OrchestratorMessage.Commit>(1).Checkpoint, "the one of step 1 still comes");
        Live(121, [1, 2]);
        ReduceOnce();
        Assert.True(Last<OrchestratorMessage.Commit>(1).Checkpoint, "the one of step 1 never came");
        ReduceOnce();
        Assert.False(Last<OrchestratorMessage.Commit>(1).Checkpoint);
        Say(1, new PeerMessage.CheckpointWritten(1, 3, 0));
        Assert.Equal(3, _core.CheckpointStep);
        ReduceOnce();
        Assert.True(Last<OrchestratorMessage.Commit>(1).Checkpoint);
    }

    [Fact]
    public void TokenUsedUp_SecondNewcomerRefused_KnownIdentityNeedsNone()
    {
        Begin(Settings(replicas: 3), tokenUses: 1);
        Join(1);
        Join(2);
        Assert.Equal(JoinRefusal.TokenUsedUp, Last<OrchestratorMessage.Refused>(2).Refusal);
        Say(1, new PeerMessage.Join(Profile(1), ""));
        Assert.Equal(1, Count<DurableRecord.TokenUsed>());
        Assert.DoesNotContain(_records, r => r.ToString()!.Contains(Token));
    }

    [Fact]
    public void TooLittleMemory_JoinWhileRunning_RefusedWithBothNumbers()
    {
        Begin(Settings(blockBytes: 5_000_000_000));
        Join(1);
        Join(2);
        Load(1, 2);
        Say(3, new PeerMessage.Join(Profile(3, memory: 3_000_000_000), Token));
        var refused = Last<OrchestratorMessage.Refused>(3);
        Assert.Equal(JoinRefusal.TooLittleMemory, refused.Refusal);
        Assert.Contains("needs 5.00 GB, this peer offers 3.00 GB", refused.Text);
    }

    [Fact]
    public void TooLittleMemory_WhileGathering_RefusedBeforeAnythingIsSpent()
    {
        Begin(Settings(blockBytes: 5_000_000), tokenUses: 2);
        Say(1, new PeerMessage.Join(Profile(1, memory: 4_000_000), Token));
        Assert.Contains("needs 5.00 MB for weights, gradients, optimizer state, activations of the microbatches in flight and buffers, this peer offers 4.00 MB", Last<OrchestratorMessage.Refused>(1).Text);
        Assert.Equal(0, Count<DurableRecord.TokenUsed>());
    }

    [Fact]
    public void NoCutFits_AllAreHere_TheOneThatOffersLeastGoesAndTheRunBeginsWithAnother()
    {
        ControlSettings settings = Settings(stages: 2, replicas: 1, blockBytes: 5_000_000);
        Begin(settings with { Model = settings.Model with { HeadBytes = 2_000_000, EmbeddingBytes = 2_000_000 } });
        Say(1, new PeerMessage.Join(Profile(1, memory: 6_000_000), Token));
        Join(2);
        Assert.Contains("no cut of 2 blocks (14.00 MB with the ends) fits 2 stages", Last<OrchestratorMessage.Refused>(1).Text);
        Assert.Equal(RunPhase.Gathering, _core.Phase);
        Join(3);
        Assert.Equal(RunPhase.Loading, _core.Phase);
        Assert.Equal(0, Count<DurableRecord.RunEnded>());
    }

    [Fact]
    public void StopAsked_StepUnderWay_EndsAfterItWithACheckpointOfIt()
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Do(new OrchestratorEvent.StopAsked("enough"));
        Assert.Equal(RunPhase.Running, _core.Phase);
        Contribute(2, 1);
        Reduce(1, 9, 16);
        Reduce(2, 9, 16);
        Assert.Equal(RunPhase.Finishing, _core.Phase);
        Assert.True(Last<OrchestratorMessage.Commit>(1).Checkpoint);
        Say(1, new PeerMessage.Applied(1, 0));
        Say(2, new PeerMessage.Applied(1, 0));
        Assert.Equal(0, Count<DurableRecord.RunEnded>());
        Say(1, new PeerMessage.CheckpointWritten(_core.Placement.Members[0].AdmittedEpoch, 1, 0));
        Assert.Equal(new DurableRecord.RunEnded(1, "enough"), _records[^1]);
    }

    [Fact]
    public void StopAsked_InAHold_EndsAtOnce()
    {
        Begin(Settings());
        Join(1);
        Do(new OrchestratorEvent.StopAsked("enough"));
        Assert.Equal(new DurableRecord.RunEnded(0, "enough"), _records[^1]);
    }

    [Fact]
    public void CheckpointDue_TheOneBeforeStillComes_LeftOutUnlessItsWriterIsGone()
    {
        Begin(Settings() with { CheckpointEvery = 1, StepCount = 9 });
        Join(1);
        Join(2);
        Load(1, 2);
        Step(1, 2);
        Assert.True(Last<OrchestratorMessage.Commit>(1).Checkpoint);
        Step(1, 2);
        Assert.False(Last<OrchestratorMessage.Commit>(1).Checkpoint);
        Say(1, new PeerMessage.CheckpointWritten(_core.Placement.Members[0].AdmittedEpoch, 1, 0));
        Step(1, 2);
        Assert.True(Last<OrchestratorMessage.Commit>(1).Checkpoint);
        // peer 1 comes back without its state: what it was writing comes no more
        Join(1);
        Contribute(2, 0);
        Contribute(2, 1);
        Reduce(2, 9, 16);
        Assert.Equal(4, _core.CommittedStep);
        Assert.True(Last<OrchestratorMessage.Commit>(2).Checkpoint);

        void Step(int first, int second)
        {
            Contribute(first, 0);
            Contribute(second, 1);
            Reduce(first, 9, 16);
            Reduce(second, 9, 16);
        }
    }

    [Fact]
    public void AllReduced_Commit_ScaleIsClipOverNormAndDurableBeforeTold()
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Contribute(2, 1);
        Reduce(1, 9, 16);
        Assert.Equal(0, Count<DurableRecord.StepCommitted>());
        var effects = _core.Step(new OrchestratorEvent.Received(PeerId.FromNumber(2), new PeerMessage.Reduced(1, Last<OrchestratorMessage.Reduce>(2).ReduceId, [9, 16]), 10), _now).ToList();
        int persisted = effects.FindIndex(e => e is OrchestratorEffect.Persist { Record: DurableRecord.StepCommitted { GradientNorm: 5, Scale: 0.2, Loss: 2 } });
        int told = effects.FindIndex(e => e is OrchestratorEffect.Send { Message: OrchestratorMessage.Commit });
        Assert.True(persisted >= 0 && persisted < told);
    }

    [Fact]
    public void SameMicrobatchTwice_Covered_OneRebuildBeforeReduce()
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Contribute(1, 1);
        Assert.Equal(RunPhase.Reducing, _core.Phase);
        Contribute(2, 1);
        Say(2, new PeerMessage.ReduceRefused(1, Last<OrchestratorMessage.Reduce>(2).ReduceId, new StepReport(1, 0, MicrobatchSet.Of(2, 1), [0, 2], MicrobatchSet.Of(2, 1))));
        var rebuild = Last<OrchestratorMessage.Rebuild>(2);
        Assert.Equal((1, 0), (rebuild.Generation, rebuild.Keep.Count));
        Assert.Equal(RunPhase.Reducing, _core.Phase);
    }

    [Theory]
    [InlineData(true, RunPhaseAfter.Commits)]
    [InlineData(false, RunPhaseAfter.Reopens)]
    public void ReplicaLostDuringReduce_OtherHasTheSumOrNot_CommitsOrReopens(bool otherHasIt, string after)
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Contribute(2, 1);
        if (otherHasIt)
            Reduce(1, 1);
        Do(new OrchestratorEvent.Disconnected(PeerId.FromNumber(2), IsGone: false));
        _now += TimeSpan.FromSeconds(4);
        Say(1, new PeerMessage.Heartbeat(0, 0));
        Do(new OrchestratorEvent.Tick());
        Assert.Equal(after == RunPhaseAfter.Commits ? 1 : 0, Count<DurableRecord.StepCommitted>());
        if (after == RunPhaseAfter.Reopens)
            Assert.Contains(1, Last<OrchestratorMessage.Grant>(1).Microbatches);
    }

    static class RunPhaseAfter
    {
        public const string Commits = "commits";
        public const string Reopens = "reopens";
    }

    [Fact]
    public void RestartAfterCommit_PeerStandsBeforeIt_SameCommitIsRepeated()
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Contribute(2, 1);
        Reduce(1, 9, 16);
        Reduce(2, 9, 16);
        _core = Orchestrator.Restore(Settings(), _records);
        _sent.Clear();
        Do(new OrchestratorEvent.Started());
        Assert.Equal(2, _core.Term);
        var report = new StepReport(1, 0, MicrobatchSet.Of(2, 0), [2, 0], MicrobatchSet.Of(2, 0));
        Say(1, new PeerMessage.Hello(1, true, report));
        Assert.Equal(new OrchestratorMessage.Commit(1, 0.2, 5, false), Last<OrchestratorMessage.Commit>(1));
        Assert.Equal(1, Count<DurableRecord.StepCommitted>());
    }

    public static TheoryData<string> ImpossibleWords => ["set", "held", "losses", "refused", "microbatch", "squares"];

    [Theory]
    [MemberData(nameof(ImpossibleWords))]
    public void MemberSaysWhatCannotBe_IsRemovedWithTheReason_AndNothingElseHappens(string which)
    {
        RunTwoReplicas();
        StepReport Report(int set = 2, int held = 2, int losses = 2) => new(1, 0, MicrobatchSet.Of(set, set - 1), [.. new double[losses]], new MicrobatchSet(held));
        Say(2, which switch
        {
            "set" => new PeerMessage.Hello(1, true, Report(set: 900)),
            "held" => new PeerMessage.Hello(1, true, Report(held: 1)),
            "losses" => new PeerMessage.Hello(1, true, Report(losses: 0)),
            "refused" => new PeerMessage.ReduceRefused(1, 1, Report(set: 3)),
            "microbatch" => new PeerMessage.Contributed(1, 0, -1, 2),
            _ => new PeerMessage.Reduced(1, 1, default),
        });
        Assert.False(IsMember(2));
        Assert.StartsWith("said what cannot be", WhyRemoved(2), StringComparison.Ordinal);
        Assert.True(IsMember(1));
        Assert.Equal(RunPhase.Running, _core.Phase);
    }

    [Fact]
    public void LastHolderLost_Hold_ThenLoadingWhenAPeerJoins()
    {
        Begin(Settings(stages: 2, replicas: 1));
        Join(1);
        Join(2);
        Load(1, 2);
        int lost = _core.Placement.Members.Single(m => m.Stage == 1).Peer == PeerId.FromNumber(1) ? 1 : 2;
        Do(new OrchestratorEvent.Disconnected(PeerId.FromNumber(lost), IsGone: false));
        _now += TimeSpan.FromSeconds(4);
        Say(3 - lost, new PeerMessage.Heartbeat(0, 0));
        Do(new OrchestratorEvent.Tick());
        Assert.Equal(RunPhase.Hold, _core.Phase);
        Assert.StartsWith("no holder for stage 1", _core.HoldReason);
        Join(7);
        Assert.Equal(RunPhase.Loading, _core.Phase);
        Assert.Equal("", _core.HoldReason);
        Load(3 - lost, 7);
        Assert.Equal(RunPhase.Running, _core.Phase);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Drain_OfOneOfTwo_LeavesAfterTheStepThatItWorkedIn(bool asksItself)
    {
        RunTwoReplicas();
        if (asksItself)
        {
            Say(2, new PeerMessage.AsksToLeave());
        }
        else
        {
            Do(new OrchestratorEvent.DrainAsked(PeerId.FromNumber(2)));
        }

        Contribute(1, 0);
        Contribute(2, 1);
        Reduce(1, 1);
        Reduce(2, 1);
        Assert.True(_core.Placement.TryFind(PeerId.FromNumber(2), out _));
        Say(2, new PeerMessage.Applied(1, 0));
        Assert.False(_core.Placement.TryFind(PeerId.FromNumber(2), out _));
        Assert.False(Last<OrchestratorMessage.Leave>(2).MayRejoin);
    }

    [Fact]
    public void WeightsDiffer_AfterApply_TheDifferingReplicaLeaves()
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Contribute(2, 1);
        Reduce(1, 1);
        Reduce(2, 1);
        Say(1, new PeerMessage.Applied(1, 0xAB));
        Say(2, new PeerMessage.Applied(1, 0xCD));
        Assert.True(_core.Placement.TryFind(PeerId.FromNumber(1), out _));
        Assert.False(_core.Placement.TryFind(PeerId.FromNumber(2), out _));
        Assert.Contains("differ", Last<OrchestratorMessage.Leave>(2).Reason);
    }

    [Fact]
    public void NormIsNotANumber_NothingCommitted_HoldSaysSo()
    {
        RunTwoReplicas();
        Contribute(1, 0);
        Contribute(2, 1);
        Reduce(1, double.NaN);
        Reduce(2, double.NaN);
        Assert.Equal(RunPhase.Hold, _core.Phase);
        Assert.Contains("gradient norm of step 1 is NaN", _core.HoldReason);
        Assert.Equal(0, Count<DurableRecord.StepCommitted>());
    }
}
