// Head, softmax and cross-entropy in one: logits = hidden*head^T, loss = logsumexp(logits) - logits[target].
// Rows go through in chunks of a fixed size, so the [R,V] logits never exist whole and the sums have one order:
//   dlogits = (softmax(logits) - onehot(target)) * scale,  dhidden = dlogits*head,  dhead += dlogits^T*hidden
namespace OrionNative.Kernels;

public partial interface IScratchSizes
{
    /// <summary>Bytes of scratch memory for <see cref="IOps.Classifier"/>.</summary>
    long ClassifierBytes(int rows, int width, int vocabulary);
}

public partial interface IOps
{
    /// <summary>losses[R] (Float32, nats; 0 where targets[R] is negative) from hidden[R,C], head[V,C], targets (Int32). With
    /// gradHidden given: gradHidden[R,C] = and gradHead[V,C] (Float32) += the gradients of gradientScale * sum of losses;
    /// with both empty only the losses are computed.</summary>
    void Classifier(Tensor hidden, Tensor head, Tensor targets, Tensor losses, Tensor gradHidden, Tensor gradHead, float gradientScale, nint scratch);
}

/// <summary>What every device asks of the tensors of <see cref="IOps.Classifier"/>.</summary>
static class ClassifierShapes
{
    /// <summary>True when gradients are asked for, which are both there or both empty.</summary>
    /// <exception cref="ArgumentException">A type or a shape is wrong.</exception>
    public static bool Check(ElementType compute, Tensor hidden, Tensor head, Tensor targets, Tensor losses, Tensor gradHidden, Tensor gradHead, nint scratch)
    {
        const string Operation = nameof(IOps.Classifier);
        Shape.IsType(hidden, compute, operation: Operation);
        Shape.Is(head, compute, head.Rows, hidden.Columns, operation: Operation);
        Shape.IsVector(targets, ElementType.Int32, hidden.Rows, operation: Operation);
        Shape.IsVector(losses, ElementType.Float32, hidden.Rows, operation: Operation);
        Shape.Holds(gradHidden.IsEmpty == gradHead.IsEmpty, "both gradients or none", gradHead, operation: Operation);
        ArgumentOutOfRangeException.ThrowIfZero(scratch);
        if (gradHidden.IsEmpty)
        {
            return false;
        }

        Shape.Is(gradHidden, compute, hidden.Rows, hidden.Columns, operation: Operation);
        Shape.Is(gradHead, ElementType.Float32, head.Rows, head.Columns, operation: Operation);
        return true;
    }
}
