namespace OrionNative.Engine.Tests.Run;

public class ModelConfigTests
{
    [Fact]
    public void Orion100B_WithoutBottleneck_HasThePublishedParameterCount() =>
        Assert.Equal(99_615_863_808L, ModelPresets.Get("orion-100b").Parameters);

    [Fact]
    public void Presets_AllOfThem_AreValid()
    {
        foreach (ModelConfig config in ModelPresets.All.Values)
        {
            config.Validated();
        }
    }

    [Fact]
    public void Boundary_Resbm_AddsTwoMatricesOfWidthTimesCode()
    {
        ModelConfig plain = ModelPresets.Get("orion-100b");
        ModelConfig cut = plain with { Boundary = BoundaryKind.Resbm, Boundaries = ModelConfig.EvenBoundaries(90, 16) };
        Assert.Equal(15L * 2 * 9216 * 144, cut.Parameters - plain.Parameters);
    }

    [Theory]
    [InlineData(7, 3)]
    [InlineData(30, 4)]
    [InlineData(90, 16)]
    [InlineData(4, 4)]
    [InlineData(5, 1)]
    public void EvenBoundaries_AnyCut_LosesNoBlock(int layers, int stages)
    {
        IReadOnlyList<int> boundaries = ModelConfig.EvenBoundaries(layers, stages);
        int[] edges = [0, .. boundaries, layers];
        int[] blocks = [.. Enumerable.Range(0, stages).Select(s => edges[s + 1] - edges[s])];
        Assert.Equal(layers, blocks.Sum());
        Assert.InRange(blocks.Max() - blocks.Min(), 0, 1);
        Assert.True(blocks[0] <= blocks.Max() && blocks[^1] == blocks.Min());
    }

    [Fact]
    public void EvenBoundaries_MoreStagesThanBlocks_NamesBoth()
    {
        var error = Assert.Throws<ConfigurationException>(() => ModelConfig.EvenBoundaries(4, 5));
        Assert.Contains("5 stages cannot share 4 blocks", error.Message);
    }

    [Fact]
    public void Validated_HeadsThatDoNotDivide_NamesThem()
    {
        var error = Assert.Throws<ConfigurationException>(() => (ModelPresets.Get("tiny") with { KeyValueHeads = 3 }).Validated());
        Assert.Contains("query-heads 4 is not a multiple of kv-heads 3", error.Message);
    }

    [Fact]
    public void TrainingFlop_OfThe30M_CountsMatricesSixTimesAndCausalAttention()
    {
        ModelConfig config = ModelPresets.Get("30m");
        double matrices = (8.0 * ((4 * 512 * 512) + (3 * 512 * 1408))) + (4096.0 * 512);
        Assert.Equal((6 * matrices) + (6.0 * 8 * 512 * 512), config.TrainingFlopPerToken(512));
    }
}
