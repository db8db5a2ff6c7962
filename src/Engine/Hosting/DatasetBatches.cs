// Training batches from a dataset: sample number (microbatch*b + i) of a step, in the keyed order of the run's seed.
using OrionNative.Engine.Data;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;

namespace OrionNative.Engine.Hosting;

/// <summary>Batches as a pure function of (step, microbatch).</summary>
sealed class DatasetBatches(TokenWindows windows, RunConfig config) : IBatchSource
{
    readonly SampleOrder _order = new((ulong)config.Seed, windows.Count, (long)config.Microbatches * config.MicrobatchSize);

    /// <inheritdoc/>
    public void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets)
    {
        int tokens = windows.Sequence;
        for (int sequence = 0; sequence < inputs.Length / tokens; sequence++)
        {
            long window = _order.At(step, ((long)microbatch * config.MicrobatchSize) + sequence);
            windows.Read(window, inputs.Slice(sequence * tokens, tokens), targets.Slice(sequence * tokens, tokens));
        }
    }
}
