using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;

namespace OrionNative.Engine.Tests.Checkpoint;

public class CheckpointStoreTests
{
    internal static CheckpointState State(long step) => new()
    {
        Step = step,
        Tokens = step * 2048,
        Seeds = new Dictionary<string, ulong> { ["run"] = ulong.MaxValue, ["data"] = 7 },
        TokenizerHash = new string('c', 64),
        Optimizer = "adamw",
        Model = new JsonObject { ["width"] = 64, ["layers"] = 2 },
    };

    internal static TensorGroup Group(string name, string tensor, long step, int elements = 1000) => new(name,
        [new TensorSource(tensor, TensorType.I64, [elements], (_, destination) => System.Runtime.InteropServices.MemoryMarshal.Cast<byte, long>(destination).Fill(step))]);

    static TensorGroup[] Groups(long step) =>
    [
        Group(GroupNames.Embedding, "model.embed_tokens.weight", step),
        Group(GroupNames.Layer(0), "model.layers.0.mlp.gate_proj.weight", step),
        Group(GroupNames.Head, "lm_head.weight", step),
    ];

    [Fact]
    public void Save_ThenOpen_StateAndTensorsAreBack()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path);
        Assert.Null(store.Latest);
        string saved = store.Save(State(100), Groups(100), new Dictionary<string, byte[]> { ["tokenizer.json"] = "{}"u8.ToArray() });
        Assert.Equal(folder["checkpoints/step-00000100"], saved);
        Assert.Equal("step-00000100\n", File.ReadAllText(folder["latest"]));

        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        Assert.Equal(100, reader.State.Step);
        Assert.Equal(ulong.MaxValue, reader.State.Seeds["run"]);
        Assert.Equal("""{"width":64,"layers":2}""", reader.State.Model.ToJsonString());
        Assert.Equal(3, reader.Tensors.Count);
        Assert.All(reader.Tensor("lm_head.weight", TensorType.I64, [1000]).Elements<long>().ToArray(), value => Assert.Equal(100, value));
        Assert.Equal("{}"u8.ToArray(), reader.ReadFile("tokenizer.json"));
    }

    [Fact]
    public void Open_SomeGroups_ReadsOnlyThose()
    {
        using var folder = new TemporaryFolder();
        string saved = new CheckpointStore(folder.Path).Save(State(1), Groups(1));
        File.Delete(Path.Combine(saved, "head.safetensors"));
        using CheckpointReader reader = CheckpointReader.Open(saved, [GroupNames.Layer(0)]);
        Assert.Equal(["model.layers.0.mlp.gate_proj.weight"], reader.Tensors.Keys);
        Assert.Contains("layer-007", Assert.Throws<InvalidDataException>(() => CheckpointReader.Open(saved, ["layer-007"])).Message);
    }

    [Fact]
    public void Save_BeyondKeep_OldestGo()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path, keep: 2);
        foreach (long step in (long[])[10, 20, 30])
            store.Save(State(step), Groups(step));
        Assert.Equal(["step-00000020", "step-00000030"], Directory.GetDirectories(folder["checkpoints"]).Select(path => Path.GetFileName(path)).Order());
    }

    [Fact]
    public void Save_AfterGoingBack_NewestAreKeptWhateverTheirStep()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path, keep: 2);
        foreach (long step in (long[])[10, 20, 10, 15])
            store.Save(State(step), Groups(step));
        Assert.Equal(["step-00000010.2", "step-00000015"], Directory.GetDirectories(folder["checkpoints"]).Select(path => Path.GetFileName(path)).Order());
        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        Assert.Equal(15, reader.State.Step);
    }

    [Fact]
    public void Begin_AfterAnInterruptedSave_LeftOversGoAndLatestStays()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path);
        store.Save(State(1), Groups(1));
        CheckpointWriter abandoned = store.Begin(2);
        abandoned.WriteGroup(Groups(2)[0]);
        Assert.EndsWith("step-00000001", store.Latest);

        using CheckpointWriter writer = store.Begin(3);
        Assert.False(Directory.Exists(abandoned.Folder));
        Assert.True(Directory.Exists(writer.Folder));
    }

    [Fact]
    public void Commit_StagesWroteTheirOwnGroups_OneCheckpoint()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path);
        using CheckpointWriter coordinator = store.Begin(5);
        var files = new List<CheckpointFile>();
        foreach (TensorGroup group in Groups(5))
            files.Add(new CheckpointWriter(coordinator.Folder, 5).WriteGroup(group));
        store.Commit(coordinator, State(5), files);
        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        Assert.Equal(3, reader.Tensors.Count);
    }

    [Fact]
    public void Open_AnyFileCutAlteredOrMissing_IsNamedBeforeAnythingIsRead()
    {
        using var folder = new TemporaryFolder();
        string saved = new CheckpointStore(folder.Path).Save(State(1), Groups(1));
        string[] files = Directory.GetFiles(saved);
        Assert.Equal(5, files.Length);
        foreach (string file in files)
        {
            byte[] whole = File.ReadAllBytes(file);
            List<byte[]> damages = [whole[..^1], [.. whole, 0], []];
            foreach (int at in (int[])[0, whole.Length / 2])
            {
                byte[] flipped = whole.AsSpan().ToArray();
                flipped[at] ^= 1;
                damages.Add(flipped);
            }
            if (Path.GetFileName(file) == CheckpointManifest.HashFileName)
                damages.RemoveRange(0, 2); // a newline less or a byte more after the hash changes nothing that is read
            foreach (byte[] damage in damages)
            {
                File.WriteAllBytes(file, damage);
                string message = Assert.Throws<InvalidDataException>(() => CheckpointReader.Open(folder.Path)).Message;
                Assert.Contains(Path.GetFileNameWithoutExtension(file), message);
            }
            File.Delete(file);
            string missing = Assert.Throws<InvalidDataException>(() => CheckpointReader.Open(folder.Path)).Message;
            Assert.Contains(Path.GetFileName(file), missing);
            File.WriteAllBytes(file, whole);
        }
        CheckpointReader.Open(folder.Path).Dispose();
    }

    [Fact]
    public void Tensor_OtherShapeTypeOrName_IsRefused()
    {
        using var folder = new TemporaryFolder();
        new CheckpointStore(folder.Path).Save(State(1), Groups(1));
        using CheckpointReader reader = CheckpointReader.Open(folder.Path);
        Assert.Contains("[1000]", Assert.Throws<InvalidDataException>(() => reader.Tensor("lm_head.weight", TensorType.I64, [999])).Message);
        Assert.Contains("I64", Assert.Throws<InvalidDataException>(() => reader.Tensor("lm_head.weight", TensorType.F32, [1000])).Message);
        Assert.Contains("model.norm.weight", Assert.Throws<InvalidDataException>(() => reader.Tensor("model.norm.weight", TensorType.F32, [1])).Message);
        Assert.Contains("tokenizer", Assert.Throws<ConfigurationException>(() => reader.RequireTokenizer(new string('d', 64))).Message);
    }

    [Fact]
    public void Open_NeitherRunNorCheckpoint_SaysSo()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("neither a checkpoint", Assert.Throws<ConfigurationException>(() => CheckpointReader.Open(folder.Path)).Message);
        folder.Write("latest", "../../etc\n"u8);
        Assert.Contains("'../../etc'", Assert.Throws<InvalidDataException>(() => CheckpointReader.Open(folder.Path)).Message);
    }
}
