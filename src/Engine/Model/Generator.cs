// Text from a model, one token after the other. Keys and values of earlier tokens stay in a cache, so each new token costs
// one row; the prompt goes through in chunks. The logits are those of a full forward pass over the same tokens.
using System.Runtime.InteropServices;
using OrionNative.Engine.Run;
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>Generates from weights that it shares with whoever owns them.</summary>
sealed class Generator : IDisposable
{
    const int ChunkTokens = 64;

    readonly IDevice _device;
    readonly StageChain _chain;
    readonly Tensor _logits;
    readonly float[] _hostLogits;

    /// <param name="parameters">Sets that cover the model in order.</param>
    /// <param name="wire">How codes cross the model's boundaries.</param>
    public Generator(IReadOnlyList<ParameterSet> parameters, WireFormat wire)
    {
        _device = parameters[0].Device;
        Model = parameters[0].Model;
        int chunk = Math.Min(ChunkTokens, Model.Context);
        _chain = new StageChain(parameters, new StageOptions(1, chunk, wire, Training: false, Cached: true));
        _logits = new Tensor(_device.Allocate(4L * Model.Vocabulary, "logits"), ElementType.Float32, 1, Model.Vocabulary);
        _hostLogits = new float[Model.Vocabulary];
    }

    /// <summary>The model.</summary>
    public ModelConfig Model { get; }

    /// <summary>Tokens in the cache.</summary>
    public int Position { get; private set; }

    /// <summary>Forgets all tokens.</summary>
    public void Reset() => Position = 0;

    /// <summary>Appends tokens and returns the logits [V] of what follows the last; valid until the next call.</summary>
    /// <exception cref="ConfigurationException">The tokens do not fit the context, or there is none.</exception>
    public ReadOnlySpan<float> Append(ReadOnlySpan<int> tokens)
    {
        if (tokens.Length == 0 || Position + tokens.Length > Model.Context)
        {
            throw new ConfigurationException(tokens.Length == 0
                ? "the prompt has no token; give at least one"
                : $"{Position + tokens.Length} tokens do not fit the model's context of {Model.Context}; give a shorter prompt or fewer --tokens");
        }

        for (int start = 0; start < tokens.Length; start += ChunkTokens)
        {
            ReadOnlySpan<int> chunk = tokens.Slice(start, Math.Min(ChunkTokens, tokens.Length - start));
            _chain.Forward(chunk, [], chunk.Length, Position);
            Position += chunk.Length;
        }

        StageModel last = _chain.Stages[^1];
        Tensor hidden = last.Hidden(0);
        _device.Ops.MatrixProduct(hidden.RowRange(hidden.Rows - 1, 1), false, last.Parameters.Layout.Head.Value, true, _logits, 1, 0);
        _device.Download(_logits.Address, MemoryMarshal.AsBytes(_hostLogits.AsSpan()));
        return _hostLogits;
    }

    /// <summary>Continues a prompt by up to <paramref name="count"/> tokens; stops before, if the context is full or
    /// <paramref name="stopToken"/> was drawn (which is not given out).</summary>
    public IEnumerable<int> Generate(int[] prompt, int count, SamplingOptions options, int stopToken = -1)
    {
        Reset();
        Sampler sampler = new(options, Model.Vocabulary);
        int[] next = [sampler.Next(Append(prompt))];
        for (int i = 0; i < count && next[0] != stopToken; i++)
        {
            yield return next[0];
            if (i + 1 == count || Position == Model.Context)
            {
                yield break;
            }

            next[0] = sampler.Next(Append(next));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _chain.Dispose();
        _device.Free(_logits.Address);
    }
}
