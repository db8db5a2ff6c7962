// The run that is planned: resolved as `train` and `orchestrate` resolve it, with the sizes that everything else is made of.
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Kernels;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Planning;

/// <param name="resolved">The run, as every command resolves it.</param>
sealed class PlannedRun(ResolvedRun resolved)
{
    public RunConfig Config => resolved.Config;

    public ModelConfig Model => resolved.Model;

    /// <summary>The run with other settings. A code width that followed from the model does so again.</summary>
    public PlannedRun With(RunConfig config) => new(resolved.Changed(config));

    /// <summary>Vocabulary of the tokenizer that the run names.</summary>
    public int TokenizerVocabulary => resolved.Tokenizer.VocabularySize;

    public CodePayload Payload { get; } = CodePayload.Of(resolved.Model, resolved.Config);

    /// <summary>True when `train` needs no peers for it.</summary>
    public bool IsOneProcess => Config.Stages * Config.Replicas == 1;

    /// <summary>Bytes of a microbatch over a boundary, forward, with the header of its message.</summary>
    public long ForwardBytes => Payload.ForwardBytes + MessageHeader.Bytes;

    /// <summary>The same going back.</summary>
    public long BackBytes => Payload.CodeBytes + MessageHeader.Bytes;

    /// <summary>What a full bf16 activation of a microbatch would be, one way.</summary>
    public long FullBytes => 2L * Payload.Rows * Model.Width;

    /// <summary>Microbatches of the busiest replica of a stage in a step, if all are equally fast.</summary>
    public int MicrobatchesOfAReplica => (Config.Microbatches + Config.Replicas - 1) / Config.Replicas;

    /// <summary>Model FLOP of a microbatch in a range of blocks, forward and backward, without recomputation.</summary>
    public double FlopOf(StageRange range) => Payload.Rows * Model.TrainingFlopPerToken(range.FirstBlock, range.EndBlock, Config.Sequence);

    /// <summary>Weights of a range.</summary>
    public long ParametersOf(StageRange range) => new ParameterLayout(Model, range, ElementType.Float32, new Arena(0), null).All.Sum(parameter => parameter.Count);

    /// <summary>Values that a checkpoint keeps of a range, in bytes: weights and optimizer state in Float32.</summary>
    public long StateBytesOf(StageRange range) => StateTensor.Bytes(Model, range, Config);

    /// <summary>The stages, cut by the orchestrator's own rule for peers that are alike.</summary>
    /// <param name="memoryBytes">What each offers; long.MaxValue for enough.</param>
    /// <param name="isApart">Their devices have a memory of their own.</param>
    /// <param name="reason">Why there is no cut; empty when there is one.</param>
    public StageRange[] Cut(long memoryBytes, bool isApart, out string reason)
    {
        if (IsOneProcess)
        {
            reason = "";
            return [StageRange.Whole(Model)];
        }

        StageCapacity[] stages = [.. Enumerable.Repeat(new StageCapacity(0, long.MaxValue).With(Config.Replicas, memoryBytes, isApart), Config.Stages)];
        return StageCut.TryCut(RunSegments.Costs(Model, Config), stages, out StageSlice[] slices, out reason)
            ? Array.ConvertAll(slices, slice => RunSegments.Range(Model, slice)) : [];
    }
}
