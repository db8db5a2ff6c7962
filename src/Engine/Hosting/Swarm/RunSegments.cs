// What a placement may move: a model with codes can be cut at its boundaries only, so the pieces between them are the units
// that the orchestrator places; a model without codes can be cut before any block.
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

static class RunSegments
{
    const long BytesPerParameter = 20;   // weight, two gradients, two moments: 4 bytes each
    const long SavedBytesPerParameter = 12;   // weight, two moments

    /// <summary>First blocks of the segments, and past them the number of blocks.</summary>
    public static int[] Edges(ModelConfig model) =>
        model.HasCodes ? [0, .. model.Boundaries, model.Layers] : [.. Enumerable.Range(0, model.Layers + 1)];

    /// <summary>The blocks of a slice of segments.</summary>
    public static StageRange Range(ModelConfig model, StageSlice slice)
    {
        int[] edges = Edges(model);
        return new StageRange(edges[slice.FirstBlock], edges[slice.FirstBlock + slice.BlockCount], model.Layers);
    }

    /// <summary>Bytes of a checkpoint's values at most.</summary>
    public static long StateBytes(ModelConfig model) => SavedBytesPerParameter * model.Parameters;

    /// <summary>Cost in matrix FLOP a token and bytes of every segment, and of the ends.</summary>
    public static ModelCosts Costs(ModelConfig model)
    {
        int[] edges = Edges(model);
        int count = edges.Length - 1;
        double[] costs = new double[count];
        long[] bytes = new long[count];
        for (int i = 0; i < count; i++)
        {
            int blocks = edges[i + 1] - edges[i];
            costs[i] = blocks * (double)model.BlockParameters;
            bytes[i] = BytesPerParameter * ((blocks * model.BlockParameters) + (model.HasCodes ? model.BoundaryParameters : 0));
        }

        long table = (long)model.Vocabulary * model.Width;
        return new ModelCosts(costs, bytes, 0, BytesPerParameter * table, table, BytesPerParameter * table);
    }
}
