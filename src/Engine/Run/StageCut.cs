// Where the model is cut into stages. Every block in exactly one slice, no slice empty, none beyond its memory, and
//   minimize  max_s  cost(slice_s) / speed_s       cost(slice) = sum of block costs + embedding (first) + head (last)
// by dynamic programming over (stages used, blocks used); ties go to the cut whose earlier stages are smaller, so that the
// result is a function of its input. Boundaries with codes are placed before peers are known: see EvenCut.
namespace OrionNative.Engine.Run;

/// <summary>What the parts of a model cost and weigh; the two arrays have one entry a block.</summary>
sealed record ModelCosts(double[] BlockCosts, long[] BlockBytes, double EmbeddingCost, long EmbeddingBytes, double HeadCost, long HeadBytes)
{
    public int BlockCount => BlockCosts.Length;

    /// <summary>Bytes of every stage, whatever it holds: scratch and buffers.</summary>
    public long SharedBytes { get; init; }

    public static ModelCosts Even(int blockCount, double endCost = 0) => new(
        [.. Enumerable.Repeat(1.0, blockCount)], new long[blockCount], endCost, 0, endCost, 0);

    /// <summary>Bytes in words for people.</summary>
    public static string Size(long bytes) => bytes >= 1e9 ? $"{bytes / 1e9:F2} GB" : bytes >= 1e6 ? $"{bytes / 1e6:F2} MB" : $"{bytes / 1e3:F2} kB";

    public double Cost(StageSlice slice)
    {
        double cost = (slice.FirstBlock == 0 ? EmbeddingCost : 0) + (slice.FirstBlock + slice.BlockCount == BlockCount ? HeadCost : 0);
        for (int block = 0; block < slice.BlockCount; block++)
            cost += BlockCosts[slice.FirstBlock + block];
        return cost;
    }

    /// <summary>Bytes that a holder of the slice needs.</summary>
    public long Bytes(StageSlice slice)
    {
        long bytes = SharedBytes + (slice.FirstBlock == 0 ? EmbeddingBytes : 0) + (slice.FirstBlock + slice.BlockCount == BlockCount ? HeadBytes : 0);
        for (int block = 0; block < slice.BlockCount; block++)
            bytes += BlockBytes[slice.FirstBlock + block];
        return bytes;
    }
}

/// <summary>What the holders of one stage offer together (speed) and each at least (memory).</summary>
readonly record struct StageCapacity(double Speed, long MemoryBytes)
{
    public static StageCapacity[] Even(int stageCount) => [.. Enumerable.Repeat(new StageCapacity(1, long.MaxValue), stageCount)];
}

static class StageCut
{
    /// <summary>The cut, or the reason why there is none.</summary>
    public static bool TryCut(ModelCosts model, ReadOnlySpan<StageCapacity> stages, out StageSlice[] slices, out string reason)
    {
        slices = [];
        reason = "";
        int blockCount = model.BlockCount, stageCount = stages.Length;
        if (stageCount < 1 || stageCount > blockCount)
        {
            reason = $"{stageCount} stages cannot hold {blockCount} blocks: a stage holds at least one block; use 1 to {blockCount} stages";
            return false;
        }
        var worst = new double[stageCount + 1, blockCount + 1];
        var from = new int[stageCount + 1, blockCount + 1];
        for (int used = 0; used <= blockCount; used++)
            worst[0, used] = used == 0 ? 0 : double.PositiveInfinity;
        for (int s = 1; s <= stageCount; s++)
        {
            for (int end = 0; end <= blockCount; end++)
                (worst[s, end], from[s, end]) = Best(model, stages[s - 1], worst, s, end);
        }
        if (double.IsPositiveInfinity(worst[stageCount, blockCount]))
        {
            long needed = stageCount * model.SharedBytes, offered = 0;
            for (int i = 0; i < blockCount; i++)
                needed += model.BlockBytes[i];
            foreach (StageCapacity stage in stages)
                offered = stage.MemoryBytes > long.MaxValue - offered ? long.MaxValue : offered + stage.MemoryBytes;
            reason = $"no cut of {blockCount} blocks ({ModelCosts.Size(needed + model.EmbeddingBytes + model.HeadBytes)} with the ends) fits {stageCount} stages "
                + $"whose peers offer {ModelCosts.Size(offered)}; use more stages or peers with more memory";
            return false;
        }
        slices = new StageSlice[stageCount];
        int blocks = blockCount;
        for (int s = stageCount; s > 0; s--)
        {
            int begin = from[s, blocks];
            slices[s - 1] = new StageSlice(begin, blocks - begin);
            blocks = begin;
        }
        return true;
    }

    static (double Worst, int From) Best(ModelCosts model, StageCapacity stage, double[,] worst, int s, int end)
    {
        double best = double.PositiveInfinity;
        int bestBegin = 0;
        for (int begin = s - 1; begin < end; begin++)
        {
            if (double.IsPositiveInfinity(worst[s - 1, begin]))
                continue;
            var slice = new StageSlice(begin, end - begin);
            if (model.Bytes(slice) > stage.MemoryBytes)
                continue;
            double candidate = Math.Max(worst[s - 1, begin], model.Cost(slice) / stage.Speed);
            if (candidate < best)
                (best, bestBegin) = (candidate, begin);
        }
        return (best, bestBegin);
    }
}
