// The project's own kernels with one line taken out or changed: each mutation must become a named fault. A mutation whose
// text no longer occurs in the source fails too, so the list cannot go stale in silence.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public sealed class MutationTests : IDisposable
{
    readonly CudaContext _context;
    readonly CudaStream _stream;

    public MutationTests()
    {
        SoftwareCuda.SkipIfAbsent();
        _context = CudaContext.Open("softcuda:1");
        _stream = new CudaStream(_context);
    }

    public void Dispose()
    {
        _stream.Dispose();
        _context.Reset();
        _context.Dispose();
    }

    [Theory]
    [InlineData("    __syncthreads();\n    if (threadIdx.x % 32 == 0) partial", "    if (threadIdx.x % 32 == 0) partial", "race on shared memory")]
    [InlineData("partial[threadIdx.x / 32] = x;\n    __syncthreads();", "partial[threadIdx.x / 32] = x;", "never written")]
    [InlineData("if (c >= chunks) break;\n            float g[8], a[8], b[8];\n            unpack_8(load_8(dy + row + 8 * c), g);\n            unpack_8(load_8(x + row + 8 * c), a);\n            unpack_8(load_8(w + 8 * c), b);\n            for (int j = 0; j < 8; j++) {",
        "if (c > chunks) break;\n            float g[8], a[8], b[8];\n            unpack_8(load_8(dy + row + 8 * c), g);\n            unpack_8(load_8(x + row + 8 * c), a);\n            unpack_8(load_8(w + 8 * c), b);\n            for (int j = 0; j < 8; j++) {", "past the end of allocation")]
    [InlineData("const int first = blockIdx.x * rows_per_block, end = min(rows, first + rows_per_block);", "const int first = blockIdx.x * rows_per_block, end = first + rows_per_block;", "past the end of allocation")]
    public void RmsNormBackward_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 3, Columns = 264;
        CudaKernel kernel = Mutated("rmsnorm.cu", "rmsnorm_backward", before, after);
        kernel.Launch(_stream, 2, 64, 0, Zeros<ushort>(Rows * Columns), Zeros<ushort>(Rows * Columns), Zeros<ushort>(Columns), Zeros<float>(Rows),
            Zeros<ushort>(Rows * Columns), Zeros<float>(2 * Columns), Rows, Columns, 2, 0);
        Caught("rmsnorm_backward", expected);
    }

    [Fact]
    public void RmsNormWeightGradient_SumNotZeroed_IsCaught()
    {
        CudaKernel kernel = Mutated("rmsnorm.cu", "rmsnorm_weight_gradient", "dw[c] += sum", "dw[c] += sum");
        CudaDeviceVariable<float> neverZeroed = new(_context, 8);
        kernel.Launch(_stream, 1, 256, 0, Zeros<float>(16), neverZeroed.Address, 2, 8);
        Caught("rmsnorm_weight_gradient", "was never written");
    }

    [Theory]
    [InlineData("led_before[0] = 0;\n    __syncthreads();", "led_before[0] = 0;", "race on shared memory")]
    [InlineData("matches[threadIdx.x / 32] = mine;\n        __syncthreads();", "matches[threadIdx.x / 32] = mine;", "never written")]
    [InlineData("            }\n        }\n        __syncthreads();", "            }\n        }", "race on shared memory")]
    [InlineData("r < rows && ids[r] == id", "r <= rows && ids[r] == id", "past the end of allocation")]
    [InlineData("__ffs((int)left) - 1", "__ffs((int)left)", "past the end of allocation")]
    public void EmbeddingBackward_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 96, Columns = 512;
        CudaKernel kernel = Mutated("embedding.cu", "embedding_backward", before, after);
        kernel.Launch(_stream, Rows, 64, 0, Zeros<int>(Rows), Zeros<ushort>(Rows * Columns), Zeros<float>(Columns), Rows, Columns);
        Caught("embedding_backward", expected);
    }

    [Theory]
    [InlineData(": 0.0f;\n    __syncthreads();\n    m = maxima[0]", ": 0.0f;\n    m = maxima[0]", "never written")]
    [InlineData("(int)threadIdx.x < tail) merge", "(int)threadIdx.x <= tail) merge", "was never written")]
    public void CrossEntropy_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Vocabulary = 13, Stride = 16;
        CudaKernel kernel = Mutated("classifier.cu", "cross_entropy", before, after);
        // The padding past the vocabulary is left as no product would write it.
        CudaDeviceVariable<ushort> logits = new(_context, Stride);
        logits.CopyFrom(new ushort[Vocabulary]);
        kernel.Launch(_stream, 1, 64, 0, logits.Address, Zeros<int>(1), Zeros<float>(1), Vocabulary, Stride, 1f, 1);
        Caught("cross_entropy", expected);
    }

    // 130 tokens of width 64: three blocks of keys, so tiles are reused while copies are on their way.
    [Theory]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // k has", "__syncthreads();  // k has", "not waited for")]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // k has", "copy_async_wait<0>(); // k has", "race|not waited for|never written")]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // v has", "__syncthreads();  // v has", "not waited for")]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // v has", "copy_async_wait<0>();  // v has", "race|not waited for|never written")]
    [InlineData("gradient_kv", "__syncthreads();  // everyone is done with the last queries", "", "race|not waited for")]
    [InlineData("gradient_kv", "copy_async_wait<0>();\n            __syncthreads();\n", "__syncthreads();\n", "not waited for")]
    [InlineData("gradient_kv", "copy_async_wait<0>();\n            __syncthreads();\n", "copy_async_wait<0>();\n", "race|not waited for|never written")]
    [InlineData("gradient_kv", "if (threadIdx.x < N) {", "if (threadIdx.x < N - 1) {", "never written")]
    [InlineData("gradient_q", "__syncthreads();  // everyone is done with the last keys", "", "race|not waited for")]
    [InlineData("gradient_q", "copy_async_wait<0>();\n        __syncthreads();\n        float p", "__syncthreads();\n        float p", "not waited for")]
    [InlineData("gradient_q", "if (row >= tokens) continue;", "", "past the end of allocation")]
    public void Attention_Mutated_IsCaught(string kernel, string before, string after, string expected)
    {
        const int Tokens = 130, Width = 64;
        CudaKernel mutated = Mutated("attention.cu", $"attention_{kernel}_d64", before, after);
        bool forward = kernel == "forward";
        int sharedBytes = (forward ? 3 : 4) * 64 * Width * 2;
        mutated.AllowDynamicShared(sharedBytes);
        ulong qkv = Zeros<ushort>(Tokens * 3 * Width), rows = Zeros<ushort>(Tokens * Width), statistics = Zeros<float>(Tokens);
        if (forward)
        {
            mutated.Launch(_stream, 3, 128, sharedBytes, qkv, rows, statistics, Tokens, 1, 1);
        }
        else
        {
            mutated.Launch(_stream, 3, 128, sharedBytes, qkv, rows, statistics, Zeros<float>(Tokens), Zeros<ushort>(Tokens * 3 * Width), Tokens, 1, 1);
        }

        Caught($"attention_{kernel}_d64", expected);
    }

    [Theory]
    [InlineData("columns - c, y);\n}", "columns - c + 1, y);\n}", "past the end of allocation")]
    [InlineData("return row < rows;", "return row <= rows;", "past the end of allocation")]
    [InlineData("if (count >= 8 && aligned_16(p)) {\n        load_8(p, f);", "if (count >= 8) {\n        load_8(p, f);", "not a multiple of 16")]
    public void Add_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 3, Columns = 13;
        Mutated("elementwise.cu", "add_fp32", before, after).Launch(_stream, 1, 256, 0,
            Zeros<float>(Rows * Columns), Columns, Zeros<float>(Rows * Columns), Columns, Rows, Columns);
        Caught("add_fp32", expected);
    }

    [Theory]
    [InlineData("if (columns - c >= 8 && ((u64)from | (u64)to) % alignof(Vector) == 0)", "if (columns - c >= 8)", "not a multiple of 16")]
    [InlineData("j < min(8, columns - c)", "j <= min(8, columns - c)", "past the end of allocation")]
    public void Copy_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 3, Columns = 13;
        Mutated("elementwise.cu", "copy_16bit", before, after).Launch(_stream, 1, 256, 0,
            Zeros<ushort>(Rows * Columns), Columns, Zeros<ushort>(Rows * Columns), Columns, Rows, Columns);
        Caught("copy_16bit", expected);
    }

    [Fact]
    public void SiluBackward_StrideOfTheWrongOperand_IsCaught()
    {
        const int Rows = 3, Columns = 8;
        Mutated("activation.cu", "silu_backward", "dy + (size_t)row * dy_stride", "dy + (size_t)row * x_stride").Launch(_stream, 1, 256, 0,
            Zeros<ushort>(Rows * 16), 16, Zeros<ushort>(Rows * Columns), Columns, Zeros<ushort>(Rows * Columns), Columns, Rows, Columns);
        Caught("silu_backward", "past the end of allocation");
    }

    [Theory]
    [InlineData("    __syncthreads();\n\n    const int pitch", "    const int pitch", "race on shared memory|never written")]
    [InlineData("here = min(RowsOfBlock, rows - first)", "here = RowsOfBlock", "past the end of allocation")]
    [InlineData("count == 8 && (u64)(to + p) % 8 == 0", "count == 8", "not a multiple of 8")]
    [InlineData("stride + at - 2]", "stride + at - 1]", "past the end of allocation")]
    public void CodePackInt8_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 11, Columns = 7;
        CudaDeviceVariable<ushort> code = new(_context, Rows * Columns);
        code.CopyFrom([.. Enumerable.Repeat(Bf16.From(1), Rows * Columns)]);
        // The wire starts one byte into its buffer, as it may in a frame.
        Mutated("code.cu", "code_pack_int8", before, after).Launch(_stream, 2, 256, 0, code.Address, Columns, Zeros<byte>((Rows * (Columns + 2)) + 1) + 1, Rows, Columns);
        Caught("code_pack_int8", expected);
    }

    [Theory]
    [InlineData("partials[threadIdx.x / 32] = x;\n    __syncthreads();", "partials[threadIdx.x / 32] = x;", "never written")]
    [InlineData("min(count, start + ChunkElements)", "start + ChunkElements", "past the end of allocation")]
    public void Sum_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Count = 1000;
        CudaKernel kernel = Mutated("reduction.cu", "sum_bf16", before, after);
        kernel.Launch(_stream, 1, 256, 0, Zeros<ushort>(Count), Zeros<double>(1), (long)Count);
        Caught("sum_bf16", expected);
    }

    CudaKernel Mutated(string source, string kernel, string before, string after)
    {
        string text = KernelSources.Read(source).Replace("#include \"ptx.cuh\"", KernelSources.Read("ptx.cuh").Replace("#pragma once", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains(before, text, StringComparison.Ordinal);
        string mutated = text.Replace(before, after, StringComparison.Ordinal);
        return new CudaModule(_context, SoftwareCuda.Compiler.CompileText(source, mutated, "sm_80")).Kernel(kernel);
    }

    ulong Zeros<T>(int count)
        where T : unmanaged
    {
        CudaDeviceVariable<T> variable = new(_context, count);
        variable.ZeroAsync(_stream);
        return variable.Address;
    }

    void Caught(string kernel, string expected)
    {
        CudaException error = Assert.Throws<CudaException>(_stream.Synchronize);
        Assert.Contains($"kernel {kernel}, block (", error.Message, StringComparison.Ordinal);
        Assert.True(expected.Split('|').Any(e => error.Message.Contains(e, StringComparison.Ordinal)), $"expected {expected}: {error.Message}");
    }
}
