namespace OrionNative.Engine.Tests.Training;

public class TrainerTests
{
    [Theory]
    [InlineData(OptimizerKind.AdamW, BoundaryKind.None)]
    [InlineData(OptimizerKind.Muon, BoundaryKind.None)]
    [InlineData(OptimizerKind.AdamW, BoundaryKind.Resbm)]
    [InlineData(OptimizerKind.Muon, BoundaryKind.Anchored)]
    public void Training_OnARule_LearnsIt(OptimizerKind optimizer, BoundaryKind boundary)
    {
        ModelConfig model = SmallRuns.Model(4, boundary, 2);
        RunConfig run = SmallRuns.Run(optimizer, steps: 150);
        using CpuDevice device = new(2);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        double first = trainer.Step().Loss, last = 0;
        for (int i = 1; i < run.Steps; i++)
        {
            last = trainer.Step().Loss;
        }

        // at the start every token is as likely; the rule alone leaves 0.2*ln(67) + H(0.2) = 1.34 nats
        Assert.Equal(Math.Log(model.Vocabulary), first, 0.1);
        Assert.InRange(last, 1.0, 2.2);
    }

    [Fact]
    public void Batch_WithAMaskedTarget_IsRefusedAndNothingIsApplied()
    {
        ModelConfig model = SmallRuns.Model(2, BoundaryKind.None, 1);
        RunConfig run = SmallRuns.Run(OptimizerKind.AdamW, steps: 5);
        using CpuDevice device = new(1);
        using Trainer trainer = new(model, run, device, new MaskedFromSecondStep(new NoisyRule(model.Vocabulary, run.Sequence)));
        trainer.Step();
        string before = trainer.WeightsHash();
        ArgumentException refused = Assert.Throws<ArgumentException>(() => trainer.Step());
        Assert.Contains("step 2, microbatch 1: position 5 has the target -1", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, trainer.WeightsHash());
        Assert.Equal(1, trainer.StepsDone);
    }

    sealed class MaskedFromSecondStep(IBatchSource source) : IBatchSource
    {
        public void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets)
        {
            source.Fill(step, microbatch, inputs, targets);
            targets[5] = step == 1 && microbatch == 1 ? -1 : targets[5];
        }
    }

    [Theory]
    [InlineData(BoundaryKind.None, WireFormat.Float32)]
    [InlineData(BoundaryKind.Resbm, WireFormat.Float32)]
    [InlineData(BoundaryKind.Resbm, WireFormat.BFloat16)]
    [InlineData(BoundaryKind.Resbm, WireFormat.Int8)]
    [InlineData(BoundaryKind.Anchored, WireFormat.Float32)]
    [InlineData(BoundaryKind.Anchored, WireFormat.BFloat16)]
    [InlineData(BoundaryKind.Anchored, WireFormat.Int8)]
    public void Training_CutIntoStages_GivesTheSameBits(BoundaryKind boundary, WireFormat wire)
    {
        int[][] cuts = [[], [2], [1, 3], [1, 2, 3]];
        (double[] Losses, string Hash) uncut = Train(boundary, cuts[0], wire: wire);
        foreach (int[] cut in cuts[1..])
        {
            (double[] losses, string hash) = Train(boundary, cut, wire: wire);
            Assert.Equal(uncut.Losses, losses);
            Assert.Equal(uncut.Hash, hash);
        }
    }

    // a wire narrower than the compute type must round, or the test above compares nothing; full activations are rounded where they cross
    [Theory]
    [InlineData(BoundaryKind.Resbm, new[] { 2 }, WireFormat.BFloat16)]
    [InlineData(BoundaryKind.Anchored, new int[0], WireFormat.BFloat16)]
    [InlineData(BoundaryKind.Anchored, new int[0], WireFormat.Int8)]
    [InlineData(BoundaryKind.None, new[] { 2 }, WireFormat.BFloat16)]
    public void Training_OverANarrowerWire_GivesOtherBits(BoundaryKind boundary, int[] cuts, WireFormat wire) =>
        Assert.NotEqual(Train(boundary, cuts).Hash, Train(boundary, cuts, wire: wire).Hash);

    [Theory]
    [InlineData(RecomputeKind.Norm, BoundaryKind.None, 0)]
    [InlineData(RecomputeKind.Block, BoundaryKind.None, 0)]
    [InlineData(RecomputeKind.Norm, BoundaryKind.Resbm, 0)]
    [InlineData(RecomputeKind.Block, BoundaryKind.Resbm, 0)]
    [InlineData(RecomputeKind.Norm, BoundaryKind.Anchored, 3)]
    [InlineData(RecomputeKind.Block, BoundaryKind.Anchored, 0)]
    [InlineData(RecomputeKind.Block, BoundaryKind.Anchored, 3)]
    [InlineData(RecomputeKind.Norm, BoundaryKind.Resbm, 0, WireFormat.Int8)]
    [InlineData(RecomputeKind.Block, BoundaryKind.Anchored, 0, WireFormat.BFloat16)]
    public void Training_WithRecomputation_GivesTheSameBits(RecomputeKind recompute, BoundaryKind boundary, int anchorRank, WireFormat wire = WireFormat.Float32)
    {
        (double[] Losses, string Hash) kept = Train(boundary, [2], anchorRank: anchorRank, wire: wire);
        (double[] losses, string hash) = Train(boundary, [2], recompute: recompute, anchorRank: anchorRank, wire: wire);
        Assert.Equal(kept.Losses, losses);
        Assert.Equal(kept.Hash, hash);
    }

    [Theory]
    [InlineData(OptimizerKind.AdamW)]
    [InlineData(OptimizerKind.Muon)]
    public void Training_OnOneOrTwoThreads_GivesTheSameBits(OptimizerKind optimizer)
    {
        (double[] Losses, string Hash) one = Train(BoundaryKind.Anchored, [], optimizer: optimizer, threads: 1);
        (double[] losses, string hash) = Train(BoundaryKind.Anchored, [], optimizer: optimizer, threads: 2);
        Assert.Equal(one.Losses, losses);
        Assert.Equal(one.Hash, hash);
    }

    [Fact]
    public void Training_WithAnotherSeed_GivesOtherWeights() =>
        Assert.NotEqual(Train(BoundaryKind.None, []).Hash, Train(BoundaryKind.None, [], seed: 8).Hash);

    static (double[] Losses, string Hash) Train(
        BoundaryKind boundary, int[] cuts, RecomputeKind recompute = RecomputeKind.None, OptimizerKind optimizer = OptimizerKind.AdamW,
        int threads = 2, int anchorRank = 0, long seed = 7, WireFormat wire = WireFormat.Float32)
    {
        ModelConfig model = SmallRuns.Model(4, boundary, 1, 2, 3) with { AnchorRank = anchorRank };
        RunConfig run = SmallRuns.Run(optimizer) with { Recompute = recompute, Seed = seed, Wire = wire };
        using CpuDevice device = new(threads);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence), cuts);
        double[] losses = new double[run.Steps];
        for (int i = 0; i < losses.Length; i++)
        {
            losses[i] = trainer.Step().Loss;
        }

        return (losses, trainer.WeightsHash());
    }

    [Fact]
    public void Step_OnceWarm_AllocatesNothing()
    {
        ModelConfig model = SmallRuns.Model(4, BoundaryKind.Anchored, 2);
        RunConfig run = SmallRuns.Run(OptimizerKind.Muon);
        using CpuDevice device = new(2);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        trainer.Step();
        trainer.Step();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 5; i++)
        {
            trainer.Step();
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
