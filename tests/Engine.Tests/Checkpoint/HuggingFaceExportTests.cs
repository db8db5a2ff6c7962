using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Tests.Checkpoint;

public class HuggingFaceExportTests
{
    internal static readonly ModelConfig Plain = new() { Vocabulary = 256, Width = 16, Layers = 3, QueryHeads = 4, KeyValueHeads = 2, HeadWidth = 4, FeedForward = 24, Context = 64, NormEpsilon = 1e-5f };

    // Values that are not whole in bfloat16, different in every tensor and element.
    static TensorSource Source(string name, long[] shape, int salt) => new(name, TensorType.F32, shape, (offset, destination) =>
    {
        Span<float> values = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(destination);
        for (int i = 0; i < values.Length; i++)
            values[i] = Value(salt, (offset / 4) + i);
    });

    static float Value(int salt, long index) => MathF.Sin((salt * 1000) + index) * 3;

    internal static string SaveCheckpoint(TemporaryFolder folder, ModelConfig model, Func<string, bool>? keep = null)
    {
        (string Name, long[] Shape)[] tensors = [.. ModelTensors.Of(model)];
        TensorGroup[] groups = [.. tensors.Select((tensor, i) => (Group: GroupNames.Of(tensor.Name), Source: Source(tensor.Name, tensor.Shape, i)))
            .Where(entry => keep?.Invoke(entry.Source.Name) ?? true)
            .GroupBy(entry => entry.Group).Select(group => new TensorGroup(group.Key, [.. group.Select(entry => entry.Source)]))];
        TensorGroup optimizer = new(GroupNames.OptimizerOf(GroupNames.Head), [Source("optimizer.m.lm_head.weight", [4], 99)]);
        return new CheckpointStore(folder["run"]).Save(CheckpointStoreTests.State(7) with { Model = ModelConfigJson.Write(model), TokenizerHash = ByteTokenizer.Instance.Hash }, [.. groups, optimizer],
            new Dictionary<string, byte[]> { ["tokenizer.json"] = ByteTokenizer.Instance.ToJson() });
    }

    [Fact]
    public void Export_PlainModel_IsACompleteHuggingFaceDirectory()
    {
        using var folder = new TemporaryFolder();
        SaveCheckpoint(folder, Plain);
        using (CheckpointReader checkpoint = CheckpointReader.Open(folder["run"]))
            HuggingFaceExport.Write(checkpoint, folder["hf"]);

        Assert.Equal(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"], Directory.GetFiles(folder["hf"]).Select(path => Path.GetFileName(path)).Order());
        Assert.Equal(["hf", "run"], Directory.GetDirectories(folder.Path).Select(path => Path.GetFileName(path)).Order());
        JsonNode config = JsonNode.Parse(File.ReadAllText(folder["hf/config.json"]))!;
        Assert.Equal("LlamaForCausalLM", (string?)config["architectures"]![0]);
        Assert.Equal(500000, (double)config["rope_theta"]!);
        Assert.Equal("1E-05", config["rms_norm_eps"]!.ToJsonString());
        Assert.False((bool)config["tie_word_embeddings"]!);
        Assert.Equal(4, (int)config["head_dim"]!);
        Assert.Equal(2, (int)config["num_key_value_heads"]!);
        Assert.Equal("none", (string?)config["bottleneck_kind"]);
        Assert.Same(ByteTokenizer.Instance, TokenizerJson.Load(folder["hf/tokenizer.json"]));

        using var file = new SafetensorsFile(folder["hf/model.safetensors"]);
        (string Name, long[] Shape)[] expected = [.. ModelTensors.Of(Plain)];
        Assert.Equal(expected.Select(tensor => tensor.Name).Order(StringComparer.Ordinal), file.Tensors.Keys.Order(StringComparer.Ordinal));
        for (int i = 0; i < expected.Length; i++)
        {
            TensorView view = file.Tensors[expected[i].Name];
            Assert.Equal(expected[i].Shape, view.Shape);
            Assert.Equal(Enumerable.Range(0, (int)(view.Bytes / 4)).Select(at => Value(i, at)), view.Elements<float>().ToArray());
        }
    }

    [Fact]
    public void Export_AsBFloat16_RoundsToNearest()
    {
        using var folder = new TemporaryFolder();
        SaveCheckpoint(folder, Plain);
        using (CheckpointReader checkpoint = CheckpointReader.Open(folder["run"]))
            HuggingFaceExport.Write(checkpoint, folder["hf"], TensorType.BF16);
        using var file = new SafetensorsFile(folder["hf/model.safetensors"]);
        ushort[] halves = file.Tensors["model.embed_tokens.weight"].Elements<ushort>().ToArray();
        for (int i = 0; i < halves.Length; i++)
        {
            float exact = Value(0, i), rounded = BitConverter.UInt32BitsToSingle((uint)halves[i] << 16);
            // bfloat16 keeps 8 significant bits, so the nearest is within 2^-9 of the value's power of two, at most 2^-8 of it.
            Assert.InRange(MathF.Abs(exact - rounded), 0, MathF.Abs(exact) / 256);
        }
        Assert.Equal("bfloat16", (string?)JsonNode.Parse(File.ReadAllText(folder["hf/config.json"]))!["torch_dtype"]);
    }

    [Fact]
    public void Export_WeightMissingOrTooMany_IsNamed()
    {
        using var folder = new TemporaryFolder();
        SaveCheckpoint(folder, Plain, name => name != "model.layers.1.mlp.up_proj.weight");
        using CheckpointReader missing = CheckpointReader.Open(folder["run"]);
        Assert.Contains("model.layers.1.mlp.up_proj.weight", Assert.Throws<InvalidDataException>(() => HuggingFaceExport.Write(missing, folder["hf"])).Message);
        Assert.False(Directory.Exists(folder["hf"]));

        ModelConfig coded = Plain with { Boundary = BoundaryKind.Resbm, CodeWidth = 4, Boundaries = [2] };
        using var other = new TemporaryFolder();
        string saved = SaveCheckpoint(other, coded);
        string manifest = Path.Combine(saved, CheckpointManifest.FileName);
        // A checkpoint whose configuration forgot its bottleneck.
        File.WriteAllText(manifest, File.ReadAllText(manifest).Replace("\"resbm\"", "\"none\"", StringComparison.Ordinal));
        File.WriteAllText(Path.Combine(saved, CheckpointManifest.HashFileName), Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(manifest))) + "  manifest.json\n");
        using CheckpointReader tooMany = CheckpointReader.Open(other["run"]);
        Assert.Contains("bottleneck.", Assert.Throws<InvalidDataException>(() => HuggingFaceExport.Write(tooMany, other["hf"])).Message);
    }

    [Fact]
    public void Export_FolderInUse_IsRefused()
    {
        using var folder = new TemporaryFolder();
        SaveCheckpoint(folder, Plain);
        folder.Write("hf/precious.txt", "x"u8);
        using CheckpointReader checkpoint = CheckpointReader.Open(folder["run"]);
        Assert.Throws<ConfigurationException>(() => HuggingFaceExport.Write(checkpoint, folder["hf"]));
        Assert.Equal("x", File.ReadAllText(folder["hf/precious.txt"]));
    }

    // The model's own layout is the other half of the contract: same names, same shapes, whatever the boundary.
    [Theory]
    [InlineData(BoundaryKind.None, 0)]
    [InlineData(BoundaryKind.Resbm, 0)]
    [InlineData(BoundaryKind.Anchored, 0)]
    [InlineData(BoundaryKind.Anchored, 3)]
    internal void ModelTensors_AnyBoundary_AreWhatTheModelTrains(BoundaryKind boundary, int rank)
    {
        ModelConfig model = Plain with { Boundary = boundary, CodeWidth = 4, AnchorRank = rank, Boundaries = [1, 2] };
        var layout = new ParameterLayout(model, StageRange.Whole(model), ElementType.Float32, new Arena(0), gradients: null);
        Assert.Equal(
            layout.All.Select(parameter => (parameter.Name, parameter.Count)).OrderBy(entry => entry.Name, StringComparer.Ordinal),
            ModelTensors.Of(model).Select(tensor => (tensor.Name, tensor.Shape.Aggregate(1L, (count, extent) => count * extent))).OrderBy(entry => entry.Name, StringComparer.Ordinal));
        Assert.Equal(model.Parameters, ModelTensors.Of(model).Sum(tensor => tensor.Shape.Aggregate(1L, (count, extent) => count * extent)));
    }
}
