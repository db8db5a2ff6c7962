// The whole model on the software CUDA device against the CPU, whose fp32 counts as exact here.
//
// What bf16 may cost. A rounding to bf16 moves a value by at most 2^-8 of its power of two; the error is uniform and the fraction is
// uniform over [1,2), so its rms relative to the value is r = 2^-8/sqrt(3) * sqrt(mean of 1/m^2) = 2^-8/sqrt(6). Errors of different
// elements are independent, so a product carries them on as it carries the values themselves: relative to the norm of a tensor, n
// roundings in a row cost r*sqrt(n). A block stores or reads bf16 on its longest path
//   forward 18: two norms and their weights, qkv and its weight, rotation, p, o and its projection's weight, branch, sum, gate-up and
//   its weight, product, down and its weight, sum        backward 18: the same places in reverse
// and the head 8, so that n = 36*L + 8. Most tensors lie on shorter paths, which leaves room for cancellation inside a tensor
// (ds = p*(dp - delta), sums of squares: the value gets shorter, the error does not); a wrong sign, index or scale is off by 1 = 630*r.
// A ReLU (the decoder of ResBM) turns small errors into other zeros: a value with relative error e changes sign with probability e/pi,
// and half of the values pass, so gradients behind it move by sqrt(2*e/pi), e = r*sqrt(n).
using OrionNative.Engine.Tests.Model;
using OrionNative.Engine.Tests.Training;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Tests.Cuda;

[Collection("softcuda")]
public class WholeModelTests
{
    const int BlockRoundings = 36, HeadRoundings = 8;
    const int Sequences = 2, Tokens = 12;

    static readonly double _rounding = 1 / (256 * Math.Sqrt(6));

    static double Relative(ModelConfig model) => _rounding * Math.Sqrt((BlockRoundings * model.Layers) + HeadRoundings);

    [Theory]
    [InlineData(BoundaryKind.None)]
    [InlineData(BoundaryKind.Resbm)]
    [InlineData(BoundaryKind.Anchored)]
    public void FirstStep_LossAndEveryGradient_AgreeWithTheCpu(BoundaryKind boundary)
    {
        ModelConfig model = SoftwareDevice.Model(boundary);
        using CudaDevice software = SoftwareDevice.Open();
        using CpuDevice cpu = new(1);
        (double loss, Dictionary<string, float[]> gradients) = Gradients(model, software);
        (double expectedLoss, Dictionary<string, float[]> expected) = Gradients(model, cpu);

        // logits have the size 0.02*sqrt(C) at the start; a loss is the difference of two of them
        double logit = 0.02 * Math.Sqrt(model.Width);
        Assert.InRange(Math.Abs(loss - expectedLoss), 0, Math.Sqrt(2) * logit * Relative(model));
        double behindRelu = Math.Sqrt(2 * Relative(model) / Math.PI);
        double[] found = [.. expected.Select(gradient => Distance(gradient.Value, gradients[gradient.Key]) / Relative(model))];
        TestContext.Current.TestOutputHelper!.WriteLine($"loss {loss - expectedLoss:E1}; gradients {string.Join("  ", found.Select(f => $"{f:F2}"))} of {Relative(model):F4}");
        foreach ((string name, float[] values) in expected)
        {
            double allowed = Relative(model) + (boundary == BoundaryKind.None ? 0 : behindRelu);
            Assert.True(Distance(values, gradients[name]) <= allowed, $"the gradient of {name} is off by {Distance(values, gradients[name]):F4} of its norm, allowed {allowed:F4}");
        }
    }

    static double Distance(float[] expected, float[] found)
    {
        double difference = 0, norm = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            difference += Math.Pow((double)expected[i] - found[i], 2);
            norm += Math.Pow(expected[i], 2);
        }

        return Math.Sqrt(difference / norm);
    }

    static (double Loss, Dictionary<string, float[]> Gradients) Gradients(ModelConfig model, IDevice device)
    {
        using ParameterSet parameters = new(model, StageRange.Whole(model), device, gradients: true);
        parameters.Initialize(3);
        using StageChain chain = new([parameters], new StageOptions(Sequences, Tokens, WireFormat.Float32));
        int[] inputs = new int[Sequences * Tokens], targets = new int[inputs.Length];
        new NoisyRule(model.Vocabulary, Tokens).Fill(0, 0, inputs, targets);
        double loss = chain.Train(inputs, targets, Tokens, 1f / inputs.Length) / inputs.Length;
        return (loss, parameters.All.ToDictionary(parameter => parameter.Name, parameter => GoldenModel.Read(device, parameter.Gradient)));
    }

    [Theory]
    [InlineData(OptimizerKind.AdamW, BoundaryKind.None)]
    [InlineData(OptimizerKind.AdamW, BoundaryKind.Anchored)]
    [InlineData(OptimizerKind.Muon, BoundaryKind.Resbm)]
    public void TenSteps_Losses_FollowTheCpu(OptimizerKind optimizer, BoundaryKind boundary)
    {
        ModelConfig model = SoftwareDevice.Model(boundary);
        using CudaDevice software = SoftwareDevice.Open();
        using CpuDevice cpu = new(1);
        double[] found = Losses(model, optimizer, software), expected = Losses(model, optimizer, cpu);
        Assert.True(expected[0] - expected[^1] > 0.3, $"the test's model does not learn: {string.Join(", ", expected)}");
        // Each step moves the loss by its gradient times the update; both are off by the relative error of a gradient, so the part of
        // the loss that training has gained is off by twice that, besides the error of the forward pass itself.
        double logit = 0.02 * Math.Sqrt(model.Width);
        TestContext.Current.TestOutputHelper!.WriteLine(string.Join("  ", found.Zip(expected, (a, b) => $"{b:F4} {a - b:E1}")));
        for (int step = 0; step < found.Length; step++)
        {
            double gained = expected[0] - expected.Take(step + 1).Min();
            double allowed = Relative(model) * ((Math.Sqrt(2) * logit) + (2 * gained));
            Assert.True(Math.Abs(found[step] - expected[step]) <= allowed, $"step {step + 1}: loss {found[step]:F5}, on the cpu {expected[step]:F5}, allowed {allowed:F5}");
        }
    }

    /// <summary>The same tokens every step, so that ten steps learn something.</summary>
    sealed class SameText(IBatchSource text) : IBatchSource
    {
        public void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets) => text.Fill(0, microbatch, inputs, targets);
    }

    [Fact]
    public void Generator_PromptThenTokens_GivesTheLogitsOfTheCpu()
    {
        ModelConfig model = SoftwareDevice.Model(BoundaryKind.Anchored);
        using CudaDevice software = SoftwareDevice.Open();
        using CpuDevice cpu = new(1);
        float[][] found = Logits(model, software), expected = Logits(model, cpu);
        double allowed = _rounding * Math.Sqrt((BlockRoundings / 2 * model.Layers) + HeadRoundings);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(Distance(expected[i], found[i]) <= allowed, $"call {i}: logits are off by {Distance(expected[i], found[i]):F4} of their norm, allowed {allowed:F4}");
        }
    }

    static float[][] Logits(ModelConfig model, IDevice device)
    {
        ParameterSet[] parameters = Array.ConvertAll(StageRange.Cut(model, model.Boundaries), range => new ParameterSet(model, range, device, gradients: false));
        Array.ForEach(parameters, set => set.Initialize(3));
        using Generator generator = new(parameters, WireFormat.Float32);
        float[][] logits = [[.. generator.Append([1, 2, 3, 4, 5])], [.. generator.Append([6])], [.. generator.Append([66])]];
        Array.ForEach(parameters, set => set.Dispose());
        return logits;
    }

    static double[] Losses(ModelConfig model, OptimizerKind optimizer, IDevice device)
    {
        RunConfig run = SoftwareDevice.Run(optimizer);
        using Trainer trainer = new(model, run, device, new SameText(new NoisyRule(model.Vocabulary, run.Sequence)));
        return [.. Enumerable.Range(0, run.Steps).Select(_ => trainer.Step().Loss)];
    }
}
