// The loss of a model on a token stream: non-overlapping windows of T inputs, each predicting its next token, in order.
//   loss = sum of nats / predicted tokens      perplexity = exp(loss)
using OrionNative.Engine.Data;
using OrionNative.Engine.Model;
using OrionNative.Kernels;

namespace OrionNative.Engine.Training;

/// <summary>What an evaluation found.</summary>
/// <param name="Loss">Mean nats per predicted token.</param>
/// <param name="Tokens">Predicted tokens.</param>
readonly record struct EvaluationResult(double Loss, long Tokens);

/// <summary>Evaluates weights that it shares with whoever owns them; keeps its memory between calls.</summary>
sealed class Evaluator : IDisposable
{
    readonly StageChain _chain;
    readonly int _sequences;
    readonly int _tokens;
    readonly int[] _inputs;
    readonly int[] _targets;

    /// <param name="parameters">Sets that cover the model in order.</param>
    /// <param name="sequences">Windows that go through at a time.</param>
    /// <param name="tokens">T, inputs of a window.</param>
    /// <param name="wire">How codes cross the model's boundaries.</param>
    public Evaluator(IReadOnlyList<ParameterSet> parameters, int sequences, int tokens, WireFormat wire)
    {
        (_sequences, _tokens) = (sequences, tokens);
        _chain = new StageChain(parameters, new StageOptions(sequences, tokens, wire, Training: false));
        _inputs = new int[sequences * tokens];
        _targets = new int[_inputs.Length];
    }

    /// <summary>Evaluates all windows, or the first <paramref name="limit"/> of them.</summary>
    /// <param name="windows">The text.</param>
    /// <param name="limit">Windows at most.</param>
    /// <param name="progress">Told the windows done.</param>
    /// <param name="interrupt">Stops between batches.</param>
    public EvaluationResult Evaluate(
        TokenWindows windows, long limit = long.MaxValue, Action<long>? progress = null, CancellationToken interrupt = default)
    {
        long count = Math.Min(windows.Count, limit);
        double sum = 0;
        for (long first = 0; first < count; first += _sequences)
        {
            interrupt.ThrowIfCancellationRequested();
            int batch = (int)Math.Min(_sequences, count - first);
            for (int i = 0; i < batch; i++)
            {
                windows.Read(first + i, _inputs.AsSpan(i * _tokens, _tokens), _targets.AsSpan(i * _tokens, _tokens));
            }

            sum += _chain.Evaluate(_inputs.AsSpan(0, batch * _tokens), _targets.AsSpan(0, batch * _tokens), _tokens);
            progress?.Invoke(first + batch);
        }

        return new EvaluationResult(sum / (count * _tokens), count * _tokens);
    }

    /// <inheritdoc/>
    public void Dispose() => _chain.Dispose();
}
