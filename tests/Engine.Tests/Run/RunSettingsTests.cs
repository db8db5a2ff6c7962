namespace OrionNative.Engine.Tests.Run;

public class RunSettingsTests
{
    [Fact]
    public void WriteRun_ReadBack_IsTheSameConfiguration()
    {
        RunConfig config = new()
        {
            Model = "30m",
            Data = ["a b.txt", "folder/*.jsonl"],
            Boundary = BoundaryKind.Resbm,
            Wire = WireFormat.Int8,
            LearningRate = 0.00123,
            Seed = long.MaxValue,
            Out = "runs/with \"quotes\"",
        };
        RunConfig read = YamlFiles.ReadRun(YamlFiles.WriteRun(config), "run.yaml", new RunConfig());
        foreach (Setting setting in RunSettings.All)
        {
            Assert.Equal(setting.Get(config), setting.Get(read));
        }
    }

    [Fact]
    public void ReadRun_UnknownKey_OffersTheNearest()
    {
        var error = Assert.Throws<ConfigurationException>(() => YamlFiles.ReadRun("microbatch: 4\nmicro-batches: 3\n", "run.yaml", new RunConfig()));
        Assert.Contains("run.yaml: unknown key 'microbatch'; did you mean 'microbatches'?", error.Message);
    }

    [Theory]
    [InlineData("steps", "0", "steps 0 does not lie between 1 and")]
    [InlineData("steps", "ten", "steps 'ten' is not a whole number")]
    [InlineData("lr", "NaN", "lr 'NaN' is not a number")]
    [InlineData("optimizer", "adam", "optimizer 'adam' is unknown; it can be adamw, muon; did you mean 'adamw'?")]
    public void With_ImpossibleValue_NamesIt(string key, string value, string expected)
    {
        var error = Assert.Throws<ConfigurationException>(() => RunSettings.With(new RunConfig(), key, value));
        Assert.Contains(expected, error.Message);
    }

    [Fact]
    public void ReadRun_NestedMapping_IsRefusedWithTheLine()
    {
        var error = Assert.Throws<ConfigurationException>(() => YamlFiles.ReadRun("steps: 3\nmodel:\n  width: 3\n", "run.yaml", new RunConfig()));
        Assert.Contains("line 3", error.Message);
    }

    [Fact]
    public void ReadModel_HeadsThatDoNotDivideTheWidth_NamesBoth()
    {
        var error = Assert.Throws<ConfigurationException>(() => YamlFiles.ReadModel("width: 100\nquery-heads: 3\nkv-heads: 3\n", "m.yaml"));
        Assert.Contains("query-heads 3 do not divide the width 100", error.Message);
    }

    [Fact]
    public void WriteModel_ReadBack_IsTheSameModel()
    {
        foreach (ModelConfig config in ModelPresets.All.Values)
        {
            ModelConfig read = YamlFiles.ReadModel(YamlFiles.WriteModel(config), "m.yaml");
            Assert.Equal(config with { CodeWidth = 0 }, read with { Boundaries = config.Boundaries });
        }
    }
}
