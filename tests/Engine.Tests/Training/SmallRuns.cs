// Small models and token sources that tests share.
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace OrionNative.Engine.Tests.Training;

static class SmallRuns
{
    /// <summary>Grouped queries and sizes that are no multiple of a vector.</summary>
    public static ModelConfig Model(int layers = 4, BoundaryKind kind = BoundaryKind.None, params int[] boundaries) => new()
    {
        Vocabulary = 67,
        Width = 36,
        Layers = layers,
        QueryHeads = 4,
        KeyValueHeads = 2,
        HeadWidth = 10,
        FeedForward = 50,
        Context = 32,
        Boundary = kind,
        CodeWidth = kind == BoundaryKind.None ? 0 : 5,
        Boundaries = boundaries,
    };

    /// <summary>Two microbatches of 3 x 16 tokens, a rate that moves the weights visibly.</summary>
    public static RunConfig Run(OptimizerKind optimizer = OptimizerKind.AdamW, int steps = 50) => new()
    {
        Optimizer = optimizer,
        LearningRate = 5e-3,
        Steps = steps,
        Warmup = 3,
        Microbatches = 2,
        MicrobatchSize = 3,
        Sequence = 16,
        Wire = WireFormat.Float32,
        Seed = 7,
    };

    /// <summary>SHA-256 of weights and optimizer state.</summary>
    public static string StateHash(Trainer trainer)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (StateTensor tensor in trainer.State)
        {
            float[] values = new float[tensor.Count];
            tensor.Read(0, values);
            hash.AppendData(MemoryMarshal.AsBytes(values.AsSpan()));
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }
}

/// <summary>Tokens that follow a rule with noise: each is the one before times three plus one, now and then anything.</summary>
sealed class NoisyRule(int vocabulary, int tokens, long seed = 1) : IBatchSource
{
    public void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets)
    {
        ulong state = (ulong)((seed * 1_000_003) + (step * 131) + microbatch + 1) * 0x9E3779B97F4A7C15;
        int token = 0;
        for (int i = 0; i < inputs.Length; i++)
        {
            token = i % tokens == 0 ? Next(ref state) % vocabulary : token;
            inputs[i] = token;
            token = Next(ref state) % 5 == 0 ? Next(ref state) % vocabulary : ((3 * token) + 1) % vocabulary;
            targets[i] = token;
        }
    }

    static int Next(ref ulong state)
    {
        state = (state * 6364136223846793005) + 1442695040888963407;
        return (int)(state >> 40);
    }
}
