// A plan for programs: everything that the report says, as one object. Bytes are bytes, times seconds.
using System.Text.Json.Nodes;
using OrionNative.Engine.Planning;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Cli;

static class PlanJson
{
    public static JsonObject Of(RunPlan plan) => new()
    {
        ["model"] = new JsonObject { ["name"] = plan.Run.Config.Model, ["parameters"] = plan.Run.Model.Parameters, ["vocabulary"] = plan.Run.Model.Vocabulary, ["flopPerToken"] = plan.Run.Model.TrainingFlopPerToken(plan.Run.Config.Sequence) },
        ["assumed"] = new JsonObject
        {
            ["speed"] = plan.Peers.Speed.Source,
            ["peakFlops"] = Number(plan.Peers.Speed.PeakFlops),
            ["memoryBytes"] = plan.Peers.MemoryBytes,
            ["peersAtOnce"] = plan.Peers.AtOnce,
            ["link"] = plan.Peers.LinkName,
            ["up"] = Direction(plan.Peers.Link.Up),
            ["down"] = Direction(plan.Peers.Link.Down),
        },
        ["stages"] = new JsonArray([.. plan.Stages.Select(Stage)]),
        ["boundary"] = plan.Run.Config.Stages == 1 ? null : Boundary(plan),
        ["step"] = new JsonObject
        {
            ["seconds"] = plan.Step.Step,
            ["computeSeconds"] = plan.Step.Compute,
            ["waitingSeconds"] = plan.Step.Waiting,
            ["closingSeconds"] = plan.Step.Closing,
            ["isSimulated"] = plan.Step.IsSimulated,
            ["tokens"] = plan.Run.Config.TokensPerStep,
            ["tokensPerSecond"] = plan.TokensPerSecond,
            ["flop"] = plan.FlopPerStep,
            ["efficiency"] = plan.Efficiency,
            ["mfu"] = Number(plan.Mfu),
        },
        ["run"] = new JsonObject
        {
            ["steps"] = plan.Run.Config.Steps,
            ["tokens"] = plan.Run.Config.TokensPerStep * plan.Run.Config.Steps,
            ["seconds"] = plan.RunSeconds,
            ["checkpointBytes"] = plan.CheckpointBytes,
            ["checkpoints"] = plan.Checkpoints,
        },
        ["fits"] = plan.CutFailure.Length == 0 && plan.Warnings.All(warning => warning.Kind != "memory"),
        ["warnings"] = new JsonArray([.. plan.Warnings.Select(warning => (JsonNode)new JsonObject { ["kind"] = warning.Kind, ["text"] = warning.Text, ["fix"] = warning.Fix })]),
    };

    static JsonNode Stage(StagePlan stage) => new JsonObject
    {
        ["stage"] = stage.Index,
        ["firstBlock"] = stage.Range.FirstBlock,
        ["endBlock"] = stage.Range.EndBlock,
        ["parameters"] = stage.Parameters,
        ["weightBytes"] = stage.Memory.Weights,
        ["gradientBytes"] = stage.Memory.Gradients,
        ["optimizerBytes"] = stage.Memory.OptimizerState,
        ["activationBytes"] = stage.Memory.Slot,
        ["microbatchesInFlight"] = stage.Memory.Slots,
        ["scratchBytes"] = stage.Memory.Scratch,
        ["bufferBytes"] = stage.BufferBytes,
        ["hostBytes"] = stage.Memory.Host,
        ["neededBytes"] = stage.NeededBytes,
        ["askedBytes"] = stage.AskedBytes,
        ["flopPerMicrobatch"] = stage.FlopPerMicrobatch,
        ["forwardSeconds"] = stage.Seconds.Forward,
        ["backwardSeconds"] = stage.Seconds.Backward,
        ["sumSeconds"] = stage.Seconds.Sum,
        ["applySeconds"] = stage.Seconds.Apply,
        ["shareBytes"] = stage.ShareBytes,
        ["sentBytesPerStep"] = stage.SentBytes,
        ["receivedBytesPerStep"] = stage.ReceivedBytes,
        ["checkpointBytes"] = stage.StateBytes,
    };

    static JsonObject Boundary(RunPlan plan) => new()
    {
        ["kind"] = plan.Run.Model.Boundary.ToString().ToLowerInvariant(),
        ["count"] = plan.Run.Config.Stages - 1,
        ["forwardBytes"] = plan.Run.ForwardBytes,
        ["backBytes"] = plan.Run.BackBytes,
        ["fullBytes"] = plan.Run.FullBytes,
        ["forwardBytesPerStep"] = plan.Run.ForwardBytes * plan.Run.Config.Microbatches,
        ["backBytesPerStep"] = plan.Run.BackBytes * plan.Run.Config.Microbatches,
        ["busySeconds"] = LinkNeeds.BusyBytes(plan.Run) / LinkNeeds.BytesPerSecond(plan.Peers.Link),
    };

    static JsonObject Direction(LinkConditions link) => new()
    {
        ["bitsPerSecond"] = link.BitsPerSecond > 0 ? link.BitsPerSecond : null,
        ["delayMs"] = link.Delay.TotalMilliseconds,
        ["jitterMs"] = link.Jitter.TotalMilliseconds,
        ["loss"] = link.Loss,
    };

    static JsonValue? Number(double value) => double.IsFinite(value) ? JsonValue.Create(value) : null;
}
