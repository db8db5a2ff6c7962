// Head, softmax and cross-entropy in one: logits = hidden*head^T, loss = logsumexp(logits) - logits[target].
// Rows go through in chunks of a fixed size, so the [R,V] logits never exist whole and the sums have one order:
//   dlogits = (softmax(logits) - onehot(target)) * scale,  dhidden = dlogits*head,  dhead += dlogits^T*hidden
namespace OrionNative.Kernels;

public partial interface IOps
{
    /// <summary>Bytes of scratch memory for <see cref="Classifier"/>.</summary>
    long ClassifierBytes(int rows, int width, int vocabulary);

    /// <summary>losses[R] (Float32, nats; 0 where targets[R] is negative) from hidden[R,C], head[V,C], targets (Int32). With
    /// gradHidden given: gradHidden[R,C] = and gradHead[V,C] (Float32) += the gradients of gradientScale * sum of losses;
    /// with both empty only the losses are computed.</summary>
    void Classifier(Tensor hidden, Tensor head, Tensor targets, Tensor losses, Tensor gradHidden, Tensor gradHead, float gradientScale, nint scratch);
}
