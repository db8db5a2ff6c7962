// Between a trainer's state and the files of a checkpoint: weights and optimizer state go into one file pair per layer
// group, and come back by name, whatever the cut was. What is loaded is checked in full before the first value is written.
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;

namespace OrionNative.Engine.Hosting;

static class RunCheckpoint
{
    /// <summary>The tokenizer beside the weights.</summary>
    public const string TokenizerFile = "tokenizer.json";

    /// <summary>Saves and returns the checkpoint's folder.</summary>
    /// <exception cref="IOException">The disk is full or failed; what was saved before is untouched.</exception>
    public static string Save(CheckpointStore store, ResolvedRun run, Trainer trainer, string dataHash)
    {
        CheckpointState state = StateOf(run, trainer.StepsDone, dataHash);
        TensorGroup[] groups =
        [
            .. trainer.State.GroupBy(GroupOf).Select(group => new TensorGroup(group.Key, [.. group.Select(Source)])),
        ];
        return store.Save(state, groups, new Dictionary<string, byte[]> { [TokenizerFile] = run.Tokenizer.ToJson() });
    }

    /// <summary>What a checkpoint of a step says of its run.</summary>
    public static CheckpointState StateOf(ResolvedRun run, long step, string dataHash) => new()
    {
        Step = step,
        Tokens = step * run.Config.TokensPerStep,
        DataPosition = step * run.Config.Microbatches * run.Config.MicrobatchSize,
        DataHash = dataHash,
        Seeds = new Dictionary<string, ulong> { ["run"] = (ulong)run.Config.Seed },
        TokenizerHash = run.Tokenizer.Hash,
        Optimizer = run.Config.Optimizer.ToString().ToLowerInvariant(),
        Model = ModelConfigJson.Write(run.Model),
        Layout = new JsonObject { ["stages"] = run.Config.Stages, ["replicas"] = run.Config.Replicas, ["wire"] = run.Config.Wire.ToString() },
    };

    /// <summary>What to say when a run goes on with other data than its checkpoint has seen, or null.</summary>
    public static string? DataNotice(CheckpointState state, string dataHash) => state.DataHash is null || state.DataHash == dataHash ? null
        : $"data    differs from what this run read up to step {state.Step}: from here on its samples are other ones, in another order";

    /// <summary>Loads weights and optimizer state and sets the step.</summary>
    /// <exception cref="InvalidDataException">The checkpoint is of another model, optimizer or tokenizer, or not whole.</exception>
    public static void Load(CheckpointReader checkpoint, ResolvedRun run, Trainer trainer)
    {
        checkpoint.RequireTokenizer(run.Tokenizer.Hash);
        string optimizer = run.Config.Optimizer.ToString().ToLowerInvariant();
        if (checkpoint.State.Optimizer != optimizer)
        {
            throw new InvalidDataException($"Checkpoint {checkpoint.Folder} holds the state of {checkpoint.State.Optimizer}, the run uses {optimizer}. Resume with --optimizer {checkpoint.State.Optimizer}.");
        }

        LoadTensors(checkpoint, trainer.State);
        trainer.StepsDone = checkpoint.State.Step;
    }

    /// <summary>Loads weights only: evaluation, generation.</summary>
    public static void LoadWeights(CheckpointReader checkpoint, ParameterSet parameters) =>
        LoadTensors(checkpoint, StateTensor.All(parameters, null));

    /// <summary>Loads tensors by name; all are checked before the first is written.</summary>
    public static void LoadTensors(CheckpointReader checkpoint, IEnumerable<StateTensor> tensors)
    {
        (StateTensor Tensor, TensorView View)[] all =
            [.. tensors.Select(tensor => (tensor, checkpoint.Tensor(tensor.Name, TensorType.F32, Shape(tensor))))];
        foreach ((StateTensor tensor, TensorView view) in all)
        {
            tensor.Write(0, view.Elements<float>());
        }
    }

    /// <summary>A tensor as it is written.</summary>
    public static TensorSource Source(StateTensor tensor) =>
        new(tensor.Name, TensorType.F32, Shape(tensor), (offset, bytes) => tensor.Read(offset / sizeof(float), MemoryMarshal.Cast<byte, float>(bytes)));

    static long[] Shape(StateTensor tensor) => tensor.IsVector ? [tensor.Columns] : [tensor.Rows, tensor.Columns];

    /// <summary>The group of a tensor: embedding, one layer, head; optimizer state beside it.</summary>
    public static string GroupOf(StateTensor tensor)
    {
        string group = GroupNames.Of(tensor.ParameterName);
        return tensor.IsWeight ? group : GroupNames.OptimizerOf(group);
    }
}
