// Products through cuBLASLt's calls against loops in double: every transpose, strides, alpha and beta, both types.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class CublasLtTests(SoftwareCuda cuda)
{
    [Theory]
    [InlineData(1, 8, 1, false, false)]
    [InlineData(9, 24, 31, false, true)]
    [InlineData(65, 300, 130, true, false)]
    [InlineData(40, 16, 8, true, true)]
    public void Multiply_BFloat16_MatchesDouble(int m, int k, int n, bool transposeA, bool transposeB)
    {
        Random random = new(m);
        (int rowsA, int columnsA) = transposeA ? (k, m) : (m, k);
        (int rowsB, int columnsB) = transposeB ? (n, k) : (k, n);
        const int Gap = 8;
        int strideA = columnsA + Gap, strideB = columnsB + Gap, strideC = n + Gap;
        ushort[] a = Bf16.Random(random, rowsA * strideA), b = Bf16.Random(random, rowsB * strideB);
        float[] before = [.. Enumerable.Range(0, m * strideC).Select(i => (float)i)];
        using var da = cuda.Upload<ushort>(a);
        using var db = cuda.Upload<ushort>(b);
        using var dc = cuda.Upload<float>(before);
        using var rounded = cuda.Allocate<ushort>((long)m * strideC);
        rounded.ZeroAsync(cuda.Stream);
        using CublasLt products = new(cuda.Context);
        Tensor ta = new((nint)da.Address, ElementType.BFloat16, rowsA, columnsA, strideA);
        Tensor tb = new((nint)db.Address, ElementType.BFloat16, rowsB, columnsB, strideB);
        products.Multiply(cuda.Stream, ta, transposeA, tb, transposeB, new((nint)dc.Address, ElementType.Float32, m, n, strideC), 0.5f, 2f);
        products.Multiply(cuda.Stream, ta, transposeA, tb, transposeB, new((nint)rounded.Address, ElementType.BFloat16, m, n, strideC), 1f, 0f);
        products.Multiply(cuda.Stream, ta, transposeA, tb, transposeB, new((nint)rounded.Address, ElementType.BFloat16, m, n, strideC), 1f, 0f);
        Assert.Equal(2, products.PlanCount);

        float[] exact = cuda.Download(dc);
        ushort[] halves = cuda.Download(rounded);
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = 0;
                for (int l = 0; l < k; l++)
                {
                    sum += Bf16.To(transposeA ? a[(l * strideA) + i] : a[(i * strideA) + l]) * Bf16.To(transposeB ? b[(j * strideB) + l] : b[(l * strideB) + j]);
                }

                // k products of at most 1, each sum rounded once.
                int at = (i * strideC) + j;
                Assert.Equal((0.5 * sum) + (2.0 * before[at]), exact[at], (k * k * Bf16.Single) + (4.0 * before[at] * Bf16.Single));
                Assert.Equal(sum, Bf16.To(halves[at]), (Math.Abs(sum) * Bf16.Rounding) + (k * k * Bf16.Single));
            }

            Assert.Equal(before[(i * strideC) + n], exact[(i * strideC) + n]);
        }
    }

    [Fact]
    public void Multiply_ShapesDoNotFit_SaysWhich()
    {
        using CublasLt products = new(cuda.Context);
        using var memory = cuda.Upload<float>(new float[64]);
        Tensor x = new((nint)memory.Address, ElementType.Float32, 4, 8);
        Assert.Contains("[4, 8] and [4, 8]", Assert.Throws<ArgumentException>(() => products.Multiply(cuda.Stream, x, false, x, false, x, 1, 0)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Multiply_NeverWrittenOperand_IsAFault()
    {
        using CudaContext context = CudaContext.Open("softcuda:1");
        CudaStream stream = new(context);
        CublasLt products = new(context);
        CudaDeviceVariable<float> memory = new(context, 64);
        Tensor x = new((nint)memory.Address, ElementType.Float32, 8, 8);
        products.Multiply(stream, x, false, x, false, x, 1, 0);
        Assert.Contains("operand A", Assert.Throws<CudaException>(stream.Synchronize).Message, StringComparison.Ordinal);
        context.Reset();
    }

    [Fact]
    public void Multiply_RefusedByTheLibrary_NamesCallShapeMeaningAndDevice()
    {
        using CublasLt products = new(cuda.Context);
        using var memory = cuda.Upload<float>(new float[64]);
        Tensor x = new((nint)memory.Address, ElementType.Float32, 8, 8), overlapping = x with { Stride = 4 };
        string message = Assert.Throws<InvalidOperationException>(() => products.Multiply(cuda.Stream, overlapping, false, x, false, x, 1, 0)).Message;
        Assert.Contains("cublasLtMatmulAlgoGetHeuristic(Float32[8,8:4]*Float32[8,8:8]=Float32[8,8:8]) failed on softcuda:0", message, StringComparison.Ordinal);
        Assert.Contains("CUBLAS_STATUS_INVALID_VALUE (7), a handle, size or shape does not fit", message, StringComparison.Ordinal);
    }

    // Operands and results apart: all that the two products share is the workspace.
    [Fact]
    public void Multiply_OnTwoStreamsAtOnce_IsARaceForTheWorkspace()
    {
        using CudaContext context = CudaContext.Open("softcuda:1");
        CudaStream first = new(context), second = new(context);
        CublasLt products = new(context);
        CudaDeviceVariable<float> memory = new(context, 128);
        memory.CopyFrom(new float[128]);
        foreach ((CudaStream stream, ulong at) in new[] { (first, memory.Address), (second, memory.Address + 256) })
        {
            Tensor x = new((nint)at, ElementType.Float32, 8, 8);
            products.Multiply(stream, x, false, x, false, x, 1, 0);
        }

        Assert.Contains("race between streams: cublasLtMatmul writes byte 0 of allocation", Assert.Throws<CudaException>(context.Synchronize).Message, StringComparison.Ordinal);
        context.Reset();
    }

    [Fact]
    public void Multiply_KnownShape_AllocatesNothing()
    {
        using CublasLt products = new(cuda.Context);
        using var memory = cuda.Upload<float>(new float[64]);
        Tensor x = new((nint)memory.Address, ElementType.Float32, 8, 8);
        products.Multiply(cuda.Stream, x, false, x, false, x, 1, 0);
        long before = GC.GetAllocatedBytesForCurrentThread();
        products.Multiply(cuda.Stream, x, false, x, false, x, 1, 0);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        cuda.Stream.Synchronize();
    }
}
