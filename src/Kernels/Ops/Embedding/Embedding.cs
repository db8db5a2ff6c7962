// output[r] = table[ids[r]]; backward adds rows that share an id in the order of r, so the sum is deterministic.
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>output[R,C] = rows ids[R] (Int32, [R,1] or [1,R]) of table[V,C]. An id outside [0,V) is the caller's error:
    /// data is checked when it is read.</summary>
    void EmbeddingForward(Tensor ids, Tensor table, Tensor output);

    /// <summary>gradTable[V,C] (Float32) += gradOutput[R,C] scattered by ids, in the order of the rows.</summary>
    void EmbeddingBackward(Tensor ids, Tensor gradOutput, Tensor gradTable);
}
