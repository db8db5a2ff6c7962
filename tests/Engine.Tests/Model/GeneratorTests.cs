using OrionNative.Engine.Tests.Training;

namespace OrionNative.Engine.Tests.Model;

public class GeneratorTests
{
    [Theory]
    [InlineData(BoundaryKind.None)]
    [InlineData(BoundaryKind.Resbm)]
    [InlineData(BoundaryKind.Anchored)]
    public void Append_TokenByTokenOrAtOnce_GivesTheLogitsOfTheFullForward(BoundaryKind boundary)
    {
        ModelConfig model = SmallRuns.Model(3, boundary, 1, 2);
        using CpuDevice device = new(2);
        using ParameterSet parameters = new(model, StageRange.Whole(model), device, gradients: false);
        parameters.Initialize(3);
        int[] tokens = [.. Enumerable.Range(0, 20).Select(i => (i * 37 % model.Vocabulary))];
        float[][] expected = FullLogits(parameters, tokens);

        using Generator generator = new([parameters], WireFormat.Float32);
        float[] afterPrompt = generator.Append(tokens.AsSpan(0, 11)).ToArray();
        AssertClose(expected[10], afterPrompt);
        for (int i = 11; i < tokens.Length; i++)
        {
            AssertClose(expected[i], generator.Append(tokens.AsSpan(i, 1)));
        }
    }

    // a checkpoint opened in one piece or in many writes the same text, with the codes rounded as in training
    [Theory]
    [InlineData(WireFormat.BFloat16)]
    [InlineData(WireFormat.Int8)]
    public void Append_ToAModelInPieces_GivesTheLogitsOfTheWholeToTheBit(WireFormat wire)
    {
        float[] whole = Logits([], wire);
        Assert.Equal(whole, Logits([2], wire));
        Assert.Equal(whole, Logits([1, 2], wire));
        Assert.NotEqual(whole, Logits([1, 2], WireFormat.Float32));
    }

    static float[] Logits(int[] cuts, WireFormat wire)
    {
        ModelConfig model = SmallRuns.Model(3, BoundaryKind.Anchored, 1, 2);
        using CpuDevice device = new(2);
        ParameterSet[] parameters = Array.ConvertAll(StageRange.Cut(model, cuts), range => new ParameterSet(model, range, device, gradients: false));
        Array.ForEach(parameters, set => set.Initialize(3));
        using Generator generator = new(parameters, wire);
        float[] logits = [.. generator.Append([1, 2, 3, 4, 5]), .. generator.Append([6])];
        Array.ForEach(parameters, set => set.Dispose());
        return logits;
    }

    static float[][] FullLogits(ParameterSet parameters, int[] tokens)
    {
        using StageChain chain = new([parameters], new StageOptions(1, tokens.Length, WireFormat.Float32, Training: false));
        chain.Forward(tokens, [], tokens.Length);
        Tensor hidden = chain.Stages[0].Hidden(0);
        int width = parameters.Model.Width, vocabulary = parameters.Model.Vocabulary;
        float[] rows = new float[tokens.Length * width], head = new float[vocabulary * width];
        parameters.Device.Download(hidden.Address, System.Runtime.InteropServices.MemoryMarshal.AsBytes(rows.AsSpan()));
        parameters.Read(parameters.All[^1], 0, head);
        return [.. Enumerable.Range(0, tokens.Length).Select(t => Enumerable.Range(0, vocabulary).Select(v => (float)Enumerable.Range(0, width).Sum(c => (double)rows[(t * width) + c] * head[(v * width) + c])).ToArray())];
    }

    // both sides round the same sums of some hundred products in another order: 100 * 2^-24 of the largest logit
    static void AssertClose(float[] expected, ReadOnlySpan<float> found)
    {
        float tolerance = 100 * MathF.Pow(2, -24) * expected.Max(Math.Abs);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], found[i], tolerance);
        }
    }

    [Fact]
    public void Generate_SameSeed_GivesTheSameTokens()
    {
        ModelConfig model = SmallRuns.Model(2);
        using CpuDevice device = new(1);
        using ParameterSet parameters = new(model, StageRange.Whole(model), device, gradients: false);
        parameters.Initialize(3);
        using Generator generator = new([parameters], WireFormat.Float32);
        SamplingOptions options = new(Temperature: 1, TopK: 20, TopP: 0.9, Seed: 5);
        int[] first = [.. generator.Generate([1, 2, 3], 12, options)];
        Assert.Equal(12, first.Length);
        Assert.Equal(first, generator.Generate([1, 2, 3], 12, options));
        Assert.NotEqual(first, generator.Generate([1, 2, 3], 12, options with { Seed = 6 }));
    }

    [Fact]
    public void Generate_PastTheContext_StopsThere()
    {
        ModelConfig model = SmallRuns.Model(2);
        using CpuDevice device = new(1);
        using ParameterSet parameters = new(model, StageRange.Whole(model), device, gradients: false);
        parameters.Initialize(3);
        using Generator generator = new([parameters], WireFormat.Float32);
        Assert.Equal(model.Context - 2, generator.Generate([1, 2, 3], 1000, new SamplingOptions(0)).Count());
        Assert.Throws<ConfigurationException>(() => generator.Generate(new int[model.Context + 1], 1, new SamplingOptions(0)).Count());
    }

    [Fact]
    public void Sampler_Greedy_TakesTheMostLikely() =>
        Assert.Equal(2, new Sampler(new SamplingOptions(Temperature: 0), 4).Next([0.5f, -1, 3, 2.9f]));

    [Fact]
    public void Sampler_TopK_NeverLeavesTheKMostLikely()
    {
        Sampler sampler = new(new SamplingOptions(Temperature: 5, TopK: 2), 5);
        HashSet<int> drawn = [.. Enumerable.Range(0, 200).Select(_ => sampler.Next([1, 2, 3, 0, 2.5f]))];
        Assert.Equal([2, 4], drawn.Order());
    }

    [Fact]
    public void Sampler_TopP_KeepsTheFewestThatHoldTheProbability()
    {
        float[] logits = [MathF.Log(0.5f), MathF.Log(0.3f), MathF.Log(0.15f), MathF.Log(0.05f)];
        Sampler sampler = new(new SamplingOptions(TopP: 0.7), 4);
        HashSet<int> drawn = [.. Enumerable.Range(0, 200).Select(_ => sampler.Next(logits))];
        Assert.Equal([0, 1], drawn.Order());
    }

    [Fact]
    public void Sampler_AtTemperatureOne_DrawsTheModelsDistribution()
    {
        const int Draws = 20_000;
        double[] expected = [0.6, 0.3, 0.1];
        Sampler sampler = new(new SamplingOptions(), 3);
        int[] counts = new int[3];
        for (int i = 0; i < Draws; i++)
        {
            counts[sampler.Next([MathF.Log(0.6f), MathF.Log(0.3f), MathF.Log(0.1f)])]++;
        }

        for (int i = 0; i < 3; i++)
        {
            // five standard deviations of a binomial share
            Assert.Equal(expected[i], counts[i] / (double)Draws, 5 * Math.Sqrt(expected[i] * (1 - expected[i]) / Draws));
        }
    }
}
