// The hash of weights on the CPU: an item is a block, the blocks' sums are added as they come, which changes nothing modulo 2^64.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    const int HashBlock = 1 << 16;

    struct HashCall
    {
        public float* Weight;
        public long Count;
        public long First;
        public ulong* Hash;
    }

    /// <inheritdoc/>
    public void HashWeights(Tensor weight, Tensor low, long first, nint hash)
    {
        Shape.IsType(weight, ElementType.Float32);
        Shape.Holds(weight.IsContiguous && low.IsEmpty, "no gaps, and no low words on the CPU", weight);
        ArgumentOutOfRangeException.ThrowIfZero(hash);
        HashCall call = new() { Weight = (float*)weight.Address, Count = weight.Count, First = first, Hash = (ulong*)hash };
        _team.Run(DivideUp(weight.Count, HashBlock), &call, &HashOfBlock);
    }

    static void HashOfBlock(void* state, int item)
    {
        HashCall* call = (HashCall*)state;
        long start = (long)item * HashBlock;
        ReadOnlySpan<float> values = new(call->Weight + start, (int)Math.Min(HashBlock, call->Count - start));
        Interlocked.Add(ref *call->Hash, WeightHash.Of(values, call->First + start));
    }
}
