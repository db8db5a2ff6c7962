// Where training tokens come from. What a step reads depends on the step alone, so a resumed run reads on without a position.
namespace OrionNative.Engine.Training;

/// <summary>Batches as a pure function of (step, microbatch).</summary>
interface IBatchSource
{
    /// <summary>Fills one microbatch: <paramref name="inputs"/> and <paramref name="targets"/> are sequences*tokens ids each,
    /// sequence after sequence, targets being the next tokens. Allocates nothing.</summary>
    /// <param name="step">Inner step, from 0.</param>
    /// <param name="microbatch">In [0, M).</param>
    /// <param name="inputs">Ids in [0, V).</param>
    /// <param name="targets">Ids in [0, V): every position is predicted, and the step divides by all of them.</param>
    void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets);
}
