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

    /// <summary>Bytes of a block and of every stage on a device that has a memory of its own: it computes in another type, and the
    /// buffers of messages lie beside it; null: as on any other.</summary>
    public (long[] Blocks, long Shared)? Apart { get; init; }

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

    /// <summary>Bytes that a holder of the slice needs, on a device that has a memory of its own or on one that has not.</summary>
    public long Bytes(StageSlice slice, bool isApart = false)
    {
        (long[] blocks, long shared) = BytesOn(isApart);
        long bytes = shared + (slice.FirstBlock == 0 ? EmbeddingBytes : 0) + (slice.FirstBlock + slice.BlockCount == BlockCount ? HeadBytes : 0);
        for (int block = 0; block < slice.BlockCount; block++)
            bytes += blocks[slice.FirstBlock + block];
        return bytes;
    }

    /// <summary>No stage of any cut needs less.</summary>
    public long LeastBytes(bool isApart)
    {
        (long[] blocks, long shared) = BytesOn(isApart);
        return shared + blocks.Min();
    }

    public (long[] Blocks, long Shared) BytesOn(bool isApart) => isApart && Apart is { } apart ? apart : (BlockBytes, SharedBytes);
}

/// <summary>What the holders of one stage offer together (speed) and each at least: those without and with a memory apart.</summary>
readonly record struct StageCapacity(double Speed, long MemoryBytes, long ApartBytes = long.MaxValue)
{
    public StageCapacity With(double speed, long memoryBytes, bool isApart) => new(
        Speed + speed, isApart ? MemoryBytes : Math.Min(MemoryBytes, memoryBytes), isApart ? Math.Min(ApartBytes, memoryBytes) : ApartBytes);

    public bool Holds(ModelCosts model, StageSlice slice) => model.Bytes(slice) <= MemoryBytes && model.Bytes(slice, isApart: true) <= ApartBytes;

    public long LeastBytes => Math.Min(MemoryBytes, ApartBytes);

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
            bool isApart = Array.TrueForAll(stages.ToArray(), stage => stage.MemoryBytes == long.MaxValue);
            long needed = (stageCount - 1) * model.BytesOn(isApart).Shared + model.Bytes(new StageSlice(0, blockCount), isApart), offered = 0;
            foreach (StageCapacity stage in stages)
                offered = stage.LeastBytes > long.MaxValue - offered ? long.MaxValue : offered + stage.LeastBytes;
            reason = $"no cut of {blockCount} blocks ({ModelCosts.Size(needed)} with the ends) fits {stageCount} stages "
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
            if (!stage.Holds(model, slice))
                continue;
            double candidate = Math.Max(worst[s - 1, begin], model.Cost(slice) / stage.Speed);
            if (candidate < best)
                (best, bestBegin) = (candidate, begin);
        }
        return (best, bestBegin);
    }
}
