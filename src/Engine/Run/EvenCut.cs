// Where a new run puts the boundaries of a model with codes, before it knows its peers: so that the largest stage is as small as can be.
// Blocks cost the same, the last stage has the head besides, and an embedding is looked up for nothing; so one number is free:
//   minimize over n   max( ceil((L - n) / (S - 1)) * block,  n * block + head )      n blocks in the last stage
// block and head are the FLOP of a step (6 a weight, and attention), as MFU counts them. The other stages share L - n evenly.
// Of equally good cuts the last stage is the longest, so the fewest others are; longer ones lie in the middle, as the ends have more to keep.
namespace OrionNative.Engine.Run;

static class EvenCut
{
    /// <summary>The first block of every stage but the first.</summary>
    /// <param name="model">Its boundaries, if it has any, do not count.</param>
    /// <param name="stages">S, at most the model's blocks.</param>
    /// <param name="sequence">T: attention costs more in longer sequences.</param>
    /// <exception cref="ConfigurationException">There are fewer blocks than stages.</exception>
    public static IReadOnlyList<int> Boundaries(ModelConfig model, int stages, int sequence)
    {
        ModelConfig plain = model with { Boundaries = [] };
        double head = plain.TrainingFlopPerToken(model.Layers, model.Layers, sequence);
        double block = (plain.TrainingFlopPerToken(sequence) - head) / model.Layers;
        int first = 0;
        return [.. Blocks(model.Layers, stages, head / block).SkipLast(1).Select(blocks => first += blocks)];
    }

    /// <summary>The number of blocks of every stage.</summary>
    /// <param name="layers">L.</param>
    /// <param name="stages">S, at most L.</param>
    /// <param name="head">What the head costs, in blocks.</param>
    /// <exception cref="ConfigurationException">There are fewer blocks than stages.</exception>
    public static int[] Blocks(int layers, int stages, double head)
    {
        if (stages < 1 || stages > layers)
        {
            throw new ConfigurationException($"{stages} stages cannot share {layers} blocks; choose between 1 and {layers} stages");
        }

        int others = stages - 1;
        int last = others == 0 ? layers
            : Enumerable.Range(1, layers - others).Reverse().MinBy(n => Math.Max((layers - n + others - 1) / others, n + head));
        int[] blocks = new int[stages];
        blocks[^1] = last;
        if (others > 0)
        {
            Array.Fill(blocks, (layers - last) / others, 0, others);
        }

        int[] middleFirst = [.. Enumerable.Range(0, others).OrderBy(s => Math.Abs((2 * s) - others)).ThenBy(s => s)];
        foreach (int longer in middleFirst.Take(layers - blocks.Sum()))
        {
            blocks[longer]++;
        }

        return blocks;
    }
}
