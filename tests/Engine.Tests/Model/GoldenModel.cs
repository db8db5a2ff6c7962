// One golden file: a small model computed by PyTorch in double precision (tests/golden/make_golden.py).
using System.Runtime.InteropServices;
using System.Text.Json;
using OrionNative.Engine.Checkpoint;
using OrionNative.Engine.Tests.Tidy;

namespace OrionNative.Engine.Tests.Model;

sealed class GoldenModel : IDisposable, IBatchSource
{
    readonly SafetensorsFile _file;
    readonly JsonElement _training;
    readonly int _rowTokens;

    public GoldenModel(string name)
    {
        _file = new SafetensorsFile(Path.Combine(Repository.Root, "tests", "golden", "model", name + ".safetensors"));
        JsonElement model = JsonDocument.Parse(_file.Metadata["model"]).RootElement;
        _training = JsonDocument.Parse(_file.Metadata["training"]).RootElement;
        Model = new ModelConfig
        {
            Vocabulary = model.GetProperty("vocab_size").GetInt32(),
            Width = model.GetProperty("hidden_size").GetInt32(),
            Layers = model.GetProperty("num_hidden_layers").GetInt32(),
            QueryHeads = model.GetProperty("num_attention_heads").GetInt32(),
            KeyValueHeads = model.GetProperty("num_key_value_heads").GetInt32(),
            HeadWidth = model.GetProperty("head_dim").GetInt32(),
            FeedForward = model.GetProperty("intermediate_size").GetInt32(),
            Context = 16,
            RotaryBase = model.GetProperty("rope_theta").GetDouble(),
            NormEpsilon = model.GetProperty("rms_norm_eps").GetSingle(),
            Boundary = Enum.Parse<BoundaryKind>(model.GetProperty("bottleneck_kind").GetString()!, ignoreCase: true),
            CodeWidth = model.GetProperty("bottleneck_dim").GetInt32(),
            AnchorRank = model.GetProperty("anchor_rank").GetInt32(),
            Boundaries = [.. model.GetProperty("bottleneck_boundaries").EnumerateArray().Select(value => value.GetInt32())],
        };
        IReadOnlyList<long> shape = _file.Tensors["tokens"].Shape;
        (Steps, Sequences, _rowTokens) = ((int)shape[0], (int)shape[1], (int)shape[2]);
    }

    public ModelConfig Model { get; }

    public int Steps { get; }

    public int Sequences { get; }

    public int Tokens => _rowTokens - 1;

    public double Loss => Doubles("loss")[0];

    /// <summary>The training of the script: two microbatches of one sequence.</summary>
    public RunConfig Run(OptimizerKind optimizer) => new()
    {
        Optimizer = optimizer,
        LearningRate = _training.GetProperty("lr").GetDouble(),
        LearningRateFloor = _training.GetProperty("floor").GetDouble(),
        Schedule = ScheduleKind.Cosine,
        Warmup = _training.GetProperty("warmup").GetInt32(),
        Beta1 = _training.GetProperty("beta1").GetDouble(),
        Beta2 = _training.GetProperty("beta2").GetDouble(),
        Momentum = _training.GetProperty("momentum").GetDouble(),
        WeightDecay = _training.GetProperty("decay").GetDouble(),
        Clip = _training.GetProperty("clip").GetDouble(),
        Steps = Steps,
        Microbatches = Sequences,
        MicrobatchSize = 1,
        Sequence = Tokens,
        Wire = WireFormat.Float32,
    };

    public float[] Floats(string name) => _file.Tensors[name].Elements<float>().ToArray();

    public double[] Doubles(string name) => _file.Tensors[name].Elements<double>().ToArray();

    public void LoadInto(ParameterSet parameters)
    {
        foreach (Parameter parameter in parameters.All)
        {
            parameters.Write(parameter, 0, Floats("weight." + parameter.Name));
        }
    }

    /// <summary>Names of the file's weights: the model must have exactly these.</summary>
    public IEnumerable<string> WeightNames =>
        _file.Tensors.Keys.Where(name => name.StartsWith("weight.", StringComparison.Ordinal)).Select(name => name["weight.".Length..]);

    public void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets)
    {
        ReadOnlySpan<int> all = _file.Tensors["tokens"].Elements<int>();
        for (int s = 0; s < inputs.Length / Tokens; s++)
        {
            int row = (((int)step * Sequences) + microbatch + s) * _rowTokens;
            all.Slice(row, Tokens).CopyTo(inputs[(s * Tokens)..]);
            all.Slice(row + 1, Tokens).CopyTo(targets[(s * Tokens)..]);
        }
    }

    public static float[] Read(IDevice device, Tensor tensor)
    {
        float[] values = new float[tensor.Count];
        device.Download(tensor.Address, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    public void Dispose() => _file.Dispose();
}
