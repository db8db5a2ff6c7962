// How the next token is drawn from logits: temperature, then the k most likely, then the fewest that hold probability p.
//   w_i = exp((l_i - max) / temperature)      draw u * sum(w) over the kept tokens in order of falling probability
// Temperature 0 takes the most likely token (the lowest id among equals). One seed gives one text.
namespace OrionNative.Engine.Model;

/// <summary>Settings of a draw.</summary>
/// <param name="Temperature">0 is greedy; 1 the model's own distribution.</param>
/// <param name="TopK">Most likely tokens kept; 0 keeps all.</param>
/// <param name="TopP">Probability that the kept tokens hold together at least; 1 keeps all.</param>
sealed record SamplingOptions(double Temperature = 1, int TopK = 0, double TopP = 1, long Seed = 1);

/// <summary>Draws tokens; reusable, not thread-safe.</summary>
sealed class Sampler(SamplingOptions options, int vocabulary)
{
    readonly int[] _order = new int[vocabulary];
    readonly double[] _weights = new double[vocabulary];
    readonly CounterNormal _random = new(options.Seed, "sampling");
    long _drawn;

    /// <summary>The next token.</summary>
    public int Next(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int i = 1; i < logits.Length; i++)
        {
            best = logits[i] > logits[best] ? i : best;
        }

        if (options.Temperature <= 0)
        {
            return best;
        }

        for (int i = 0; i < logits.Length; i++)
        {
            _order[i] = i;
            _weights[i] = -Math.Exp((logits[i] - logits[best]) / options.Temperature);
        }

        // weights are negated, so an ascending sort puts the likely tokens first; equal ones keep no promise but are equal
        Array.Sort(_weights, _order);
        int kept = options.TopK > 0 ? Math.Min(options.TopK, logits.Length) : logits.Length;
        double sum = Total(kept);
        kept = CountHolding(options.TopP * sum, kept);
        double target = _random.Uniform(_drawn++) * Total(kept);
        for (int i = 0; i < kept; i++)
        {
            target += _weights[i];
            if (target <= 0)
            {
                return _order[i];
            }
        }

        return _order[kept - 1];
    }

    double Total(int count)
    {
        double sum = 0;
        for (int i = 0; i < count; i++)
        {
            sum -= _weights[i];
        }

        return sum;
    }

    int CountHolding(double mass, int most)
    {
        int count = 0;
        for (double held = 0; count < most && held < mass; count++)
        {
            held -= _weights[count];
        }

        return Math.Max(1, count);
    }
}
