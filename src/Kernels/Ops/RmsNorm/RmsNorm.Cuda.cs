// RMSNorm on CUDA: a block a row forward; backward a block a run of rows, whose weight sums a second kernel adds in block order.
namespace OrionNative.Kernels.Cuda;

sealed partial class CudaOps
{
    const string RmsNormSource = "rmsnorm.cu";
    const int NormThreadsMost = 1024, NormBackwardThreadsMost = 512;
    const int NormChunksMost = 4;
    const int NormBlocksLeast = 256, NormBlocksMost = 1024, NormPartialsMost = 1 << 20;

    CudaKernel? _rmsNormForward, _addRmsNormForward, _rmsNormBackward, _rmsNormWeightGradient;

    /// <inheritdoc cref="IOps.RmsNormForward"/>
    public void RmsNormForward(Tensor x, Tensor weight, Tensor output, Tensor rstd, float epsilon)
    {
        int threads = CheckNorm(x, weight, output, rstd);
        _rmsNormForward ??= Kernel(RmsNormSource, "rmsnorm_forward");
        _rmsNormForward.Launch(_stream, x.Rows, threads, 0, x, weight, output, rstd, x.Columns, epsilon);
    }

    /// <inheritdoc cref="IOps.AddRmsNormForward"/>
    public void AddRmsNormForward(Tensor x, Tensor y, Tensor weight, Tensor sum, Tensor output, Tensor rstd, float epsilon)
    {
        int threads = CheckNorm(x, weight, output, rstd);
        Shape.Is(y, ElementType.BFloat16, x.Rows, x.Columns);
        Shape.Is(sum, ElementType.BFloat16, x.Rows, x.Columns);
        Shape.Holds(y.IsContiguous && sum.IsContiguous, "rows without gaps", sum);
        _addRmsNormForward ??= Kernel(RmsNormSource, "add_rmsnorm_forward");
        _addRmsNormForward.Launch(_stream, x.Rows, threads, 0, x, y, weight, sum, output, rstd, x.Columns, epsilon);
    }

    /// <inheritdoc cref="IOps.RmsNormBackward"/>
    public void RmsNormBackward(Tensor gradOutput, Tensor x, Tensor weight, Tensor rstd, Tensor gradX, bool accumulate, Tensor gradWeight)
    {
        _ = CheckNorm(x, weight, gradOutput, rstd);
        Shape.Is(gradX, ElementType.BFloat16, x.Rows, x.Columns);
        Shape.IsVector(gradWeight, ElementType.Float32, x.Columns);
        Shape.Holds(gradX.IsContiguous, "rows without gaps", gradX);
        int threads = NormThreads(x.Columns, NormBackwardThreadsMost);
        Shape.Holds(x.Columns <= Chunk * NormChunksMost * threads, "at most 16384 columns", x);
        int rowsPerBlock = NormRowsPerBlock(x.Rows, x.Columns), blocks = DivideUp(x.Rows, rowsPerBlock);
        nint partial = Workspace((long)sizeof(float) * blocks * x.Columns);
        _rmsNormBackward ??= Kernel(RmsNormSource, "rmsnorm_backward");
        _rmsNormBackward.Launch(
            _stream, blocks, threads, 0, gradOutput, x, weight, rstd, gradX, partial, x.Rows, x.Columns, rowsPerBlock, accumulate ? 1 : 0);
        _rmsNormWeightGradient ??= Kernel(RmsNormSource, "rmsnorm_weight_gradient");
        _rmsNormWeightGradient.Launch(_stream, DivideUp(x.Columns, 32), Threads, 0, partial, gradWeight, blocks, x.Columns);
    }

    // Two blocks a multiprocessor fill it with rows of 4096 columns; narrow rows need more of them, and their partial sums are small. The same on
    // every card, so that the order of the additions is.
    internal static int NormRowsPerBlock(int rows, int columns) => DivideUp(rows, Math.Clamp(NormPartialsMost / columns, NormBlocksLeast, NormBlocksMost));

    static int CheckNorm(Tensor x, Tensor weight, Tensor output, Tensor rstd)
    {
        Shape.IsType(x, ElementType.BFloat16);
        Shape.IsVector(weight, ElementType.BFloat16, x.Columns);
        Shape.Is(output, ElementType.BFloat16, x.Rows, x.Columns);
        Shape.IsVector(rstd, ElementType.Float32, x.Rows);
        Shape.Holds(x.IsContiguous && output.IsContiguous, "rows without gaps", x);
        RequireChunks(x);
        int threads = NormThreads(x.Columns, NormThreadsMost);
        Shape.Holds(x.Columns <= Chunk * NormChunksMost * threads, "at most 32768 columns", x);
        return threads;
    }

    // one chunk a thread up to 256 threads, more threads only for rows that would not fit otherwise
    static int NormThreads(int columns, int most) => RowThreads(columns / (columns > Chunk * NormChunksMost * 256 ? NormChunksMost : 1), Math.Min(most, columns > Chunk * NormChunksMost * 256 ? most : 256));
}
