// The classifier on CUDA: a chunk of rows at a time. A product gives bf16 logits, a kernel turns each row into its loss and in place
// into the gradient of the logits, two products carry that on; gradHead is fp32 and sums over the chunks in their order.
// Rows of logits are padded to a multiple of 8 elements; the padding is never read as logits.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const int ClassifierRows = 1024;
    const int ClassifierThreads = 512;   // two blocks a multiprocessor: one reads while the other sums

    CudaKernel? _crossEntropy;

    /// <inheritdoc cref="IScratchSizes.ClassifierBytes"/>
    public long ClassifierBytes(int rows, int width, int vocabulary) => ClassifierScratchBytes(rows, vocabulary);

    /// <summary>The same, without a device.</summary>
    public static long ClassifierScratchBytes(int rows, int vocabulary) => 2L * Math.Min(rows, ClassifierRows) * Padded(vocabulary);

    /// <inheritdoc cref="IOps.Classifier"/>
    public void Classifier(Tensor hidden, Tensor head, Tensor targets, Tensor losses, Tensor gradHidden, Tensor gradHead, float gradientScale, nint scratch)
    {
        bool withGradient = ClassifierShapes.Check(ElementType.BFloat16, hidden, head, targets, losses, gradHidden, gradHead, scratch);
        _crossEntropy ??= Kernel("classifier.cu", "cross_entropy");
        int vocabulary = head.Rows, stride = Padded(vocabulary), threads = Math.Clamp(DivideUp(vocabulary, Chunk * 32) * 32, 32, ClassifierThreads);
        for (int start = 0; start < hidden.Rows; start += ClassifierRows)
        {
            int rows = Math.Min(ClassifierRows, hidden.Rows - start);
            Tensor logits = new(scratch, ElementType.BFloat16, rows, vocabulary, stride);
            MatrixProduct(hidden.RowRange(start, rows), false, head, true, logits, 1, 0);
            _crossEntropy.Launch(
                _stream, rows, threads, 0, logits, targets.Address + (start * sizeof(int)), losses.Address + (start * sizeof(float)),
                vocabulary, stride, gradientScale, withGradient ? 1 : 0);
            if (withGradient)
            {
                MatrixProduct(logits, false, head, false, gradHidden.RowRange(start, rows), 1, 0);
                MatrixProduct(logits, true, hidden.RowRange(start, rows), false, gradHead, 1, 1);
            }
        }
    }

    static int Padded(int columns) => DivideUp(columns, Chunk) * Chunk;
}
