// Cuts a token stream into windows of T inputs, each predicting its next token; the incomplete tail is left out.
//   inputs_i = t[i*T .. i*T+T)      targets_i = t[i*T+1 .. i*T+T]      count = floor((tokens - 1) / T)
// Neighbouring windows share one token (the last target of one is the first input of the next), so every token but the
// first is predicted once. Evaluation reads the windows in order, training in SampleOrder.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Data;

/// <summary>Non-overlapping samples of <see cref="Sequence"/> predictions over a dataset.</summary>
sealed class TokenWindows
{
    readonly TokenDataset _dataset;

    /// <exception cref="ConfigurationException">The data is too short for one window.</exception>
    public TokenWindows(TokenDataset dataset, int sequence)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(sequence);
        _dataset = dataset;
        Sequence = sequence;
        Count = Math.Max(0, dataset.TokenCount - 1) / sequence;
        if (Count == 0)
            throw new ConfigurationException($"{dataset.Name} has {dataset.TokenCount} tokens, too few for one window of {sequence} inputs and their next tokens ({sequence + 1} tokens). Give more text or a smaller --sequence.");
    }

    /// <summary>Inputs, and predictions, per window.</summary>
    public int Sequence { get; }

    /// <summary>Windows in the dataset.</summary>
    public long Count { get; }

    /// <summary>Fills inputs [T] and targets [T] of one window; allocates nothing.</summary>
    /// <exception cref="InvalidDataException">A stored token id is outside the vocabulary.</exception>
    public void Read(long window, Span<int> inputs, Span<int> targets)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(window);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(window, Count);
        if (inputs.Length != Sequence || targets.Length != Sequence)
            throw new ArgumentException($"A window of {Sequence} needs as many inputs and targets, not {inputs.Length} and {targets.Length}.");
        long start = window * Sequence;
        _dataset.Read(start, inputs);
        inputs[1..].CopyTo(targets);
        _dataset.Read(start + Sequence, targets[^1..]);
    }
}
