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
        ModelConfig cut = plain with { Boundary = BoundaryKind.Resbm, Boundaries = EvenCut.Boundaries(plain, 16, plain.Context) };
        Assert.Equal(15L * 2 * 9216 * 144, cut.Parameters - plain.Parameters);
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
