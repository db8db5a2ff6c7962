// What a narrow boundary costs in loss: the same model, seed, tokens and optimizer with and without codes between four stages,
// beside a control that has as many parameters as the anchored model (a wider feed-forward instead of the anchors).
// d 256, 8 blocks, T 128, 8 sequences a step; validation loss in nats a token on text that is never trained on.
// A cell (vocabulary, optimizer, seed, arm) that the records already hold is not run again, so the campaign can be stopped.
// Prediction, from the trial that led here (byte vocabulary, AdamW): resbm 17 % above the control, anchored at or below it.
// Arms 9 to 12 ask what the price depends on, after 1600 steps with AdamW, where a code of 4 at width 256 costs 5.4 %: a code of 8 is
// predicted to cost 3.5 %, one of 16 2 %, and the same ratio at half the width (a code of 2 at 128) 9 % of its own control.
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Bench;

static class BoundariesSuite
{
    const string RecordFile = "boundaries.jsonl";
    const int Stages = 4, UsualSteps = 400, EvaluateEvery = 200, CodeWidth = 4, FactorRank = 32, ValidationWindows = 512;

    static readonly ModelConfig _plain = new()
    {
        Width = 256,
        Layers = 8,
        HeadWidth = 64,
        FeedForward = 704,
        Context = 128,
        Boundaries = [2, 4, 6],
    };

    static readonly RunConfig _run = new()
    {
        MicrobatchSize = 8,
        Sequence = 128,
        LearningRate = 2e-3,
        Threads = 1,
    };

    /// <summary>One design. Ratio is (2 bytes * width) over the bytes of a token's code, ids not counted.</summary>
    sealed record Arm(string Name, BoundaryKind Kind, WireFormat Wire = WireFormat.BFloat16, int Rank = 0, bool Matched = false, bool Copied = false, int Width = CodeWidth,
        int ModelWidth = 256);

    static readonly Arm[] _arms =
    [
        new("none", BoundaryKind.None, WireFormat.Float32),
        new("anchored", BoundaryKind.Anchored),
        new("resbm", BoundaryKind.Resbm),
        new("none, parameters matched", BoundaryKind.None, WireFormat.Float32, Matched: true),
        new("anchored, int8", BoundaryKind.Anchored, WireFormat.Int8),
        new("resbm, int8", BoundaryKind.Resbm, WireFormat.Int8),
        new("anchored rank 32", BoundaryKind.Anchored, Rank: FactorRank),
        new("anchored, A from the embedding", BoundaryKind.Anchored, Copied: true),
        new("anchored, 2 wide, int8", BoundaryKind.Anchored, WireFormat.Int8, Width: 2),
        new("none, model 128 wide", BoundaryKind.None, WireFormat.Float32, ModelWidth: 128),
        new("anchored, 2 wide, model 128 wide", BoundaryKind.Anchored, Width: 2, ModelWidth: 128),
        new("anchored, 8 wide", BoundaryKind.Anchored, Width: 8),
        new("anchored, 16 wide", BoundaryKind.Anchored, Width: 16),
    ];

    /// <summary>Arguments: training text, validation text, number of seeds, the only optimizer and vocabulary to run, which of the arms (their numbers), steps.</summary>
    public static int Run(string[] arguments)
    {
        if (arguments.Length < 2)
        {
            throw new FormatException("name a text to train on and one to validate on; OPTIMIZER is AdamW or Muon, IDS 256 or 4096, ARMS numbers as in 0,1,3");
        }

        int seeds = arguments.Length > 2 ? int.Parse(arguments[2], CultureInfo.InvariantCulture) : 1;
        OptimizerKind[] optimizers = arguments.Length > 3 ? [Enum.Parse<OptimizerKind>(arguments[3])] : [OptimizerKind.AdamW, OptimizerKind.Muon];
        int[] vocabularies = arguments.Length > 4 ? [int.Parse(arguments[4], CultureInfo.InvariantCulture)] : [256, 4096];
        Arm[] arms = arguments.Length > 5 ? Array.ConvertAll(arguments[5].Split(','), arm => _arms[int.Parse(arm, CultureInfo.InvariantCulture)]) : _arms;
        int steps = arguments.Length > 6 ? int.Parse(arguments[6], CultureInfo.InvariantCulture) : UsualSteps;
        if (steps % EvaluateEvery != 0)
        {
            Console.Error.WriteLine($"boundaries: {steps} steps is not a multiple of {EvaluateEvery}, after which the loss is taken; give one that is");
            return 2;
        }

        foreach ((int seed, OptimizerKind optimizer, int vocabulary, Arm arm) in Cells(seeds, optimizers, vocabularies, arms))
        {
            if (!Recorded().Contains(Key(vocabulary, optimizer.ToString(), seed, arm.Name, steps * _run.TokensPerStep)))
            {
                Train(arguments[0], arguments[1], vocabulary, optimizer, seed, arm, steps);
            }
        }

        return 0;
    }

    static IEnumerable<(int Seed, OptimizerKind Optimizer, int Vocabulary, Arm Arm)> Cells(int seeds, OptimizerKind[] optimizers, int[] vocabularies, Arm[] arms) =>
        from seed in Enumerable.Range(1, seeds) from optimizer in optimizers from vocabulary in vocabularies from arm in arms select (seed, optimizer, vocabulary, arm);

    static string Key(int vocabulary, string optimizer, long seed, string arm, long tokens) => $"{vocabulary}/{optimizer}/{seed}/{arm}/{tokens}";

    static IEnumerable<string> Recorded()
    {
        string file = Path.Combine(Records.Root, "perf", "records", RecordFile);
        return !File.Exists(file) ? [] : File.ReadLines(file).Select(line => JsonNode.Parse(line)!).Select(line => Key(
            (int)line["vocabulary"]!, (string)line["optimizer"]!, (long)line["seed"]!, (string)line["arm"]!, (long)line["tokens"]!));
    }

    static void Train(string text, string validation, int vocabulary, OptimizerKind optimizer, int seed, Arm arm, int steps)
    {
        string cache = Path.Combine(Path.GetTempPath(), "orion-boundaries");
        ITokenizer tokenizer = Tokenizer(text, vocabulary, cache);
        using TokenDataset training = DataPreparer.Open([text], tokenizer, cache, "text"), valid = DataPreparer.Open([validation], tokenizer, cache, "text");
        ModelConfig model = Model(arm, vocabulary);
        RunConfig run = _run with { Seed = seed, Optimizer = optimizer, Wire = arm.Wire, Steps = steps, Warmup = steps / 10 };
        using CpuDevice cpu = new(run.Threads);
        using Trainer trainer = new(model, run, cpu, new DatasetBatches(new TokenWindows(training, run.Sequence), run));
        if (arm.Copied)
        {
            CopyEmbedding(trainer, seed);
        }

        using Evaluator evaluator = new(trainer.Parameters, run.MicrobatchSize, run.Sequence, arm.Wire);
        TokenWindows windows = new(valid, run.Sequence);
        JsonArray curve = [];
        double loss = 0;
        while (trainer.StepsDone < steps)
        {
            trainer.Step();
            if (trainer.StepsDone % EvaluateEvery == 0)
            {
                loss = evaluator.Evaluate(windows, ValidationWindows).Loss;
                curve.Add(Math.Round(loss, 4));
            }
        }

        double codeBytes = arm.Kind == BoundaryKind.None ? 2.0 * model.Width : (double)CodeWire.Bytes(arm.Wire, run.Sequence, arm.Width) / run.Sequence;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"vocabulary {vocabulary}, {optimizer}, seed {seed}, {arm.Name}: {model.Parameters:N0} parameters, {codeBytes:F0} bytes a token, validation loss {loss:F4}"));
        Records.Append(RecordFile, new JsonObject
        {
            ["device"] = cpu.Name,
            ["scenario"] = "boundary-quality",
            ["text"] = Path.GetFileName(text),
            ["vocabulary"] = vocabulary,
            ["optimizer"] = optimizer.ToString(),
            ["seed"] = seed,
            ["arm"] = arm.Name,
            ["parameters"] = model.Parameters,
            ["tokens"] = run.TokensPerStep * steps,
            ["codeBytesPerToken"] = codeBytes,
            ["validationNatsPerTokenEvery200Steps"] = curve,
            ["validationNatsPerToken"] = Math.Round(loss, 5),
        });
    }

    // every A starts as the embedding does, bit by bit: what a boundary receives is then what the first block saw
    static void CopyEmbedding(Trainer trainer, long seed)
    {
        Parameter embedding = trainer.Parameters[0].All[0];
        CounterNormal normal = new(seed, embedding.Name);
        float[] values = new float[embedding.Count];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = (float)(embedding.InitialDeviation * normal.At(i));
        }

        foreach (ParameterSet stage in trainer.Parameters)
        {
            foreach (Parameter anchor in stage.All.Where(parameter => parameter.Kind == ParameterKind.Anchor))
            {
                stage.Write(anchor, 0, values);
            }
        }
    }

    static ModelConfig Model(Arm arm, int vocabulary)
    {
        ModelConfig model = _plain with
        {
            Vocabulary = vocabulary,
            Width = arm.ModelWidth,
            QueryHeads = arm.ModelWidth / _plain.HeadWidth,
            KeyValueHeads = arm.ModelWidth / _plain.HeadWidth,
            FeedForward = _plain.FeedForward * arm.ModelWidth / _plain.Width,
            Boundary = arm.Kind,
            CodeWidth = arm.Kind == BoundaryKind.None ? 0 : arm.Width,
            AnchorRank = arm.Rank,
        };
        if (arm.Matched)
        {
            long wanted = Model(_arms[1], vocabulary).Parameters;
            long perUnit = 3L * model.Width * model.Layers;
            model = model with { FeedForward = model.FeedForward + (int)((wanted - model.Parameters + perUnit - 1) / perUnit) };
        }

        return model.Validated();
    }

    static ITokenizer Tokenizer(string text, int vocabulary, string cache)
    {
        if (vocabulary == 256)
        {
            return ByteTokenizer.Instance;
        }

        string file = Path.Combine(cache, $"tokenizer-{vocabulary}.json");
        if (!File.Exists(file))
        {
            Directory.CreateDirectory(cache);
            File.WriteAllBytes(file, BpeTrainer.Train(new CorpusReader([text], "text"), new BpeTrainingOptions { VocabularySize = vocabulary }).ToJson());
        }

        return TokenizerJson.Load(file);
    }
}
