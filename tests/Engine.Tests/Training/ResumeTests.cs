namespace OrionNative.Engine.Tests.Training;

public class ResumeTests
{
    [Theory]
    [InlineData(OptimizerKind.AdamW, WireFormat.Float32)]
    [InlineData(OptimizerKind.Muon, WireFormat.BFloat16)]
    [InlineData(OptimizerKind.AdamW, WireFormat.Int8)]
    public void Resume_WithAnotherCut_ContinuesToTheBit(OptimizerKind optimizer, WireFormat wire)
    {
        ModelConfig model = SmallRuns.Model(4, BoundaryKind.Anchored, 1, 2, 3);
        RunConfig run = SmallRuns.Run(optimizer, steps: 12) with { Wire = wire };
        using CpuDevice device = new(2);
        NoisyRule text = new(model.Vocabulary, run.Sequence);
        using Trainer straight = new(model, run, device, text, []);
        double[] expected = Losses(straight, 12);

        Dictionary<string, float[]> saved = [];
        using (Trainer first = new(model, run, device, text, [2]))
        {
            Assert.Equal(expected[..5], Losses(first, 5));
            foreach (StateTensor tensor in first.State)
            {
                tensor.Read(0, saved[tensor.Name] = new float[tensor.Count]);
            }
        }

        using Trainer second = new(model, run with { Seed = 99 }, device, text, [1, 3]) { StepsDone = 5 };
        foreach (StateTensor tensor in second.State)
        {
            Assert.True(saved.Remove(tensor.Name, out float[]? values), $"{tensor.Name} was not saved");
            tensor.Write(0, values);
        }

        Assert.Empty(saved);
        Assert.Equal(expected[5..], Losses(second, 7));
        Assert.Equal(straight.WeightsHash(), second.WeightsHash());
    }

    static double[] Losses(Trainer trainer, int steps) => [.. Enumerable.Range(0, steps).Select(_ => trainer.Step().Loss)];

    [Theory]
    [InlineData(OptimizerKind.AdamW)]
    [InlineData(OptimizerKind.Muon)]
    public void LossIsNotANumber_Step_ThrowsAndLeavesWeightsOptimizerAndStep(OptimizerKind optimizer)
    {
        ModelConfig model = SmallRuns.Model(2);
        RunConfig run = SmallRuns.Run(optimizer);
        using CpuDevice device = new(1);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        trainer.Step();
        ParameterSet parameters = trainer.Parameters[0];
        parameters.Write(parameters.All[^1], 0, [float.PositiveInfinity]);
        string before = SmallRuns.StateHash(trainer);

        NonFiniteException error = Assert.Throws<NonFiniteException>(() => trainer.Step());
        Assert.Equal((2, "loss"), (error.Step, error.Quantity));
        Assert.False(double.IsFinite(error.Value));
        Assert.Equal((before, 1), (SmallRuns.StateHash(trainer), trainer.StepsDone));
    }

    [Fact]
    public void GradientOverflows_Step_ThrowsAndLeavesTheWeights()
    {
        ModelConfig model = SmallRuns.Model(2);
        RunConfig run = SmallRuns.Run();
        using CpuDevice device = new(1);
        using Trainer trainer = new(model, run, device, new NoisyRule(model.Vocabulary, run.Sequence));
        ParameterSet parameters = trainer.Parameters[0];

        // an embedding so small that the norm divides its gradient by nearly nothing, under a first norm weight near the limit
        Parameter embedding = parameters.All[0], norm = parameters.All[1];
        parameters.Write(embedding, 0, new float[embedding.Count]);
        float[] large = new float[norm.Count];
        Array.Fill(large, 3e38f);
        parameters.Write(norm, 0, large);
        string before = trainer.WeightsHash();
        NonFiniteException error = Assert.Throws<NonFiniteException>(() => trainer.Step());
        Assert.Equal("gradient norm", error.Quantity);
        Assert.Equal(before, trainer.WeightsHash());
    }

    [Fact]
    public void StateTensors_OfAModel_HaveUniqueNamesAndHuggingFaceWeights()
    {
        ModelConfig model = SmallRuns.Model(2, BoundaryKind.Resbm, 1);
        using CpuDevice device = new(1);
        using Trainer trainer = new(model, SmallRuns.Run(OptimizerKind.Muon), device, new NoisyRule(model.Vocabulary, 16));
        string[] names = [.. trainer.State.Select(tensor => tensor.Name)];
        Assert.Equal(names.Length, names.Distinct().Count());
        Assert.Contains("model.layers.0.bottleneck.encoder.weight", names);
        Assert.Contains("optimizer.momentum.model.layers.1.bottleneck.decoder.weight", names);
        Assert.Contains("optimizer.v.lm_head.weight", names);
        Assert.DoesNotContain("optimizer.v.model.layers.1.mlp.up_proj.weight", names);
    }
}
