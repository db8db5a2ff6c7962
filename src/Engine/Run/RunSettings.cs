// Every setting of a run, in the order in which run.yaml lists them.
using OrionNative.Kernels;

namespace OrionNative.Engine.Run;

static class RunSettings
{
    public static readonly IReadOnlyList<Setting> All =
    [
        Setting.Text("model", $"preset ({string.Join(", ", ModelPresets.All.Keys)}) or the path of a model file in YAML", c => c.Model, (c, v) => c with { Model = v }),
        Setting.List("data", "text (.txt, .jsonl) or token shards: files, folders, globs, separated by commas", c => c.Data, (c, v) => c with { Data = v }),
        Setting.List("eval-data", "text to evaluate on, never trained on", c => c.EvalData, (c, v) => c with { EvalData = v }),
        Setting.Text("field", "field of a .jsonl line that holds the text", c => c.Field, (c, v) => c with { Field = v }),
        Setting.Text("tokenizer", "byte, or the path of a tokenizer.json", c => c.Tokenizer, (c, v) => c with { Tokenizer = v }),
        Setting.Integer("stages", "stages that the model is cut into", 1, c => c.Stages, (c, v) => c with { Stages = (int)v }),
        Setting.Integer("replicas", "peers for each stage", 1, c => c.Replicas, (c, v) => c with { Replicas = (int)v }),
        Setting.Choice("boundary", "what crosses between two stages", c => c.Boundary, (c, v) => c with { Boundary = v },
            ("none", BoundaryKind.None), ("resbm", BoundaryKind.Resbm), ("anchored", BoundaryKind.Anchored)),
        Setting.Integer("code-width", "values a token that cross a boundary; 0: width/64", 0, c => c.CodeWidth, (c, v) => c with { CodeWidth = (int)v }),
        Setting.Integer("anchor-rank", "rank of a factorised anchor; 0: a full one", 0, c => c.AnchorRank, (c, v) => c with { AnchorRank = (int)v }),
        Setting.Choice("wire", "how a code travels", c => c.Wire, (c, v) => c with { Wire = v },
            ("fp32", WireFormat.Float32), ("bf16", WireFormat.BFloat16), ("int8", WireFormat.Int8)),
        Setting.Choice("transport", "what carries messages between peers: quic (UDP), or tcp (TLS 1.3) where the network stops UDP", c => c.Transport, (c, v) => c with { Transport = v },
            ("quic", PeerTransport.Quic), ("tcp", PeerTransport.Tcp)),
        Setting.Integer("sync-every", "inner steps per synchronization of the replicas; only 1 is built so far", 1, c => c.SyncEvery, (c, v) => c with { SyncEvery = (int)v }),
        Setting.Choice("optimizer", "rule for the hidden matrices; the rest uses AdamW", c => c.Optimizer, (c, v) => c with { Optimizer = v },
            ("adamw", OptimizerKind.AdamW), ("muon", OptimizerKind.Muon)),
        Setting.Number("lr", "highest learning rate", 0, 10, c => c.LearningRate, (c, v) => c with { LearningRate = v }),
        Setting.Number("lr-floor", "lowest learning rate as a fraction of the highest", 0, 1, c => c.LearningRateFloor, (c, v) => c with { LearningRateFloor = v }),
        Setting.Choice("schedule", "learning rate after the warm-up", c => c.Schedule, (c, v) => c with { Schedule = v },
            ("constant", ScheduleKind.Constant), ("cosine", ScheduleKind.Cosine), ("wsd", ScheduleKind.Wsd)),
        Setting.Integer("warmup", "steps of linear warm-up; -1: a tenth of the steps", -1, c => c.Warmup, (c, v) => c with { Warmup = (int)v }),
        Setting.Number("weight-decay", "decoupled weight decay, not on norms", 0, 10, c => c.WeightDecay, (c, v) => c with { WeightDecay = v }),
        Setting.Number("beta1", "first-moment decay of AdamW", 0, 0.99999, c => c.Beta1, (c, v) => c with { Beta1 = v }),
        Setting.Number("beta2", "second-moment decay of AdamW", 0, 0.99999, c => c.Beta2, (c, v) => c with { Beta2 = v }),
        Setting.Number("momentum", "momentum of Muon", 0, 0.99999, c => c.Momentum, (c, v) => c with { Momentum = v }),
        Setting.Number("clip", "largest global gradient norm; 0: never clip", 0, 1e9, c => c.Clip, (c, v) => c with { Clip = v }),
        Setting.Integer("steps", "inner steps", 1, c => c.Steps, (c, v) => c with { Steps = (int)v }),
        Setting.Integer("microbatches", "microbatches of an inner step", 1, c => c.Microbatches, (c, v) => c with { Microbatches = (int)v }),
        Setting.Integer("microbatch-size", "sequences of a microbatch", 1, c => c.MicrobatchSize, (c, v) => c with { MicrobatchSize = (int)v }),
        Setting.Integer("sequence", "tokens of a sequence; 0: the smaller of 256 and the model's context", 0, c => c.Sequence, (c, v) => c with { Sequence = (int)v }),
        Setting.Integer("seed", "seed of the weights and of the order of the samples", 0, c => c.Seed, (c, v) => c with { Seed = v }, long.MaxValue),
        Setting.Text("device", "where to compute: cpu, cuda:N (an NVIDIA card) or softcuda:N (the card's kernels on this processor, slow: for tests)", c => c.Device, (c, v) => c with { Device = v }),
        Setting.Integer("threads", "CPU threads; 0: every processor", 0, c => c.Threads, (c, v) => c with { Threads = (int)v }, 4096),
        Setting.Choice("offload", "what lies in the host's page-locked memory instead of the device's: optimizer crosses the bus both ways once a step, activations once a microbatch (two blocks stay; with recompute block only their inputs cross); the bits do not change, and on the CPU nothing moves",
            c => c.Offload, (c, v) => c with { Offload = v },
            ("none", OffloadKind.None), ("optimizer", OffloadKind.Optimizer), ("activations", OffloadKind.Activations), ("all", OffloadKind.All)),
        Setting.Choice("recompute", "what backward recomputes instead of keeping", c => c.Recompute, (c, v) => c with { Recompute = v },
            ("none", RecomputeKind.None), ("norm", RecomputeKind.Norm), ("block", RecomputeKind.Block)),
        Setting.Text("out", "run directory; empty: the next free one under runs/", c => c.Out, (c, v) => c with { Out = v }),
        Setting.Integer("checkpoint-every", "steps between checkpoints; 0: only the last", 0, c => c.CheckpointEvery, (c, v) => c with { CheckpointEvery = (int)v }),
        Setting.Integer("keep", "checkpoints kept", 1, c => c.Keep, (c, v) => c with { Keep = (int)v }),
        Setting.Integer("eval-every", "steps between evaluations; 0: only at the end", 0, c => c.EvalEvery, (c, v) => c with { EvalEvery = (int)v }),
    ];

    /// <summary>The configuration with one setting changed; an unknown name is an error that offers the nearest.</summary>
    public static RunConfig With(RunConfig config, string name, string value)
    {
        foreach (Setting setting in All)
        {
            if (setting.Name == name)
            {
                return setting.Set(config, value);
            }
        }

        throw new ConfigurationException($"unknown key '{name}'{NearestName.Hint(name, [.. All.Select(setting => setting.Name)])}");
    }
}
