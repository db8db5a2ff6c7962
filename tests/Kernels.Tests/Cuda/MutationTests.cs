// The project's own kernels with one line taken out or changed: each mutation must become a named fault. A mutation whose
// text no longer occurs in the source fails too, so the list cannot go stale in silence.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public sealed class MutationTests : PlantedFaults
{
    [Theory]
    [InlineData("    __syncthreads();\n    if (threadIdx.x % 32 == 0) partial", "    if (threadIdx.x % 32 == 0) partial", "race on shared memory")]
    [InlineData("partial[threadIdx.x / 32] = x;\n    __syncthreads();", "partial[threadIdx.x / 32] = x;", "never written")]
    [InlineData("kept_x[i] = c < chunks ? load_8(x", "kept_x[i] = c <= chunks ? load_8(x", "past the end of allocation")]
    [InlineData("partial + (size_t)blockIdx.x * columns + 8 * c", "partial + 8 * c", "race on global memory")]
    [InlineData("const int first = blockIdx.x * rows_per_block, end = min(rows, first + rows_per_block);", "const int first = blockIdx.x * rows_per_block, end = first + rows_per_block;", "past the end of allocation")]
    public void RmsNormBackward_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 3, Columns = 264;
        CudaKernel kernel = Mutated("rmsnorm.cu", "rmsnorm_backward", before, after);
        kernel.Launch(Stream, 2, 64, 0, Zeros<ushort>(Rows * Columns), Zeros<ushort>(Rows * Columns), Zeros<ushort>(Columns), Zeros<float>(Rows),
            Zeros<ushort>(Rows * Columns), Zeros<float>(2 * Columns), Rows, Columns, 2, 0);
        Caught("rmsnorm_backward", expected);
    }

    [Fact]
    public void RmsNormWeightGradient_SumNotZeroed_IsCaught()
    {
        CudaKernel kernel = Mutated("rmsnorm.cu", "rmsnorm_weight_gradient", "dw[c] += sum", "dw[c] += sum");
        CudaDeviceVariable<float> neverZeroed = new(Context, 8);
        kernel.Launch(Stream, 1, 256, 0, Zeros<float>(16), neverZeroed.Address, 2, 8);
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
        kernel.Launch(Stream, Rows, 64, 0, Zeros<int>(Rows), Zeros<ushort>(Rows * Columns), Zeros<float>(Columns), Rows, Columns);
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
        CudaDeviceVariable<ushort> logits = new(Context, Stride);
        logits.CopyFrom(new ushort[Vocabulary]);
        kernel.Launch(Stream, 1, 64, 0, logits.Address, Zeros<int>(1), Zeros<float>(1), Vocabulary, Stride, 1f, 1);
        Caught("cross_entropy", expected);
    }

    // 130 tokens of width 64: two blocks and several steps, so tiles are reused while copies are on their way.
    [Theory]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // k has", "__syncthreads();  // k has", "not waited for")]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // k has", "copy_async_wait<0>(); // k has", "race|not waited for|never written")]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // v has", "__syncthreads();  // v has", "not waited for")]
    [InlineData("forward", "copy_async_wait<0>();\n        __syncthreads();  // v has", "copy_async_wait<0>();  // v has", "race|not waited for|never written")]
    [InlineData("gradient_kv", "copy_async_wait<0>();\n        __syncthreads();  // this step", "__syncthreads();  // this step", "not waited for")]
    [InlineData("gradient_kv", "__syncthreads();  // this step", "// this step", "race|not waited for|never written")]
    [InlineData("gradient_kv", "if (threadIdx.x < 2 * Step) {", "if (threadIdx.x < 2 * Step - 1) {", "never written")]
    [InlineData("gradient_kv", "first = blockIdx.x * Rows, sequence", "first = blockIdx.x * (Rows - 1), sequence", "race on global memory")]
    [InlineData("gradient_kv", "load_step(head, queries + Step, buffer ^ 1)", "load_step(head, queries + Step, buffer)", "race|not waited for|never written")]
    [InlineData("gradient_kv", "__syncthreads();  // p lies", "// p lies", "race|never written")]
    [InlineData("gradient_kv", "before * (DsSpan * DsSpan / 2)", "before * (DsSpan * DsSpan / 4)", "race on global memory")]
    [InlineData("gradient_q", "&& keys + i / 4 * 32 <= first_own", "&& keys + i / 4 * 32 <= first_own + 32", "never written")]
    [InlineData("gradient_q", "first_own < tokens && keys", "keys", "never written")]
    [InlineData("gradient_q", "copy_async_wait<0>();\n        __syncthreads();  // this step", "__syncthreads();  // this step", "not waited for")]
    [InlineData("gradient_q", "__syncthreads();  // this step", "// this step", "race|not waited for|never written")]
    [InlineData("gradient_q", "if (row >= tokens) continue;\n            const float* at", "const float* at", "past the end of allocation")]
    [InlineData("gradient_q", "if (row >= tokens) continue;", "", "past the end of allocation")]
    public void Attention_Mutated_IsCaught(string kernel, string before, string after, string expected)
    {
        const int Tokens = 130, Width = 64;
        // The other head widths are left out: a mutation is a compilation, and each would take three times as long.
        string[] others = ["ATTENTION_KERNELS(32, 4, 4)\n", "ATTENTION_KERNELS(128, 2, 3)\n"];
        CudaKernel mutated = Mutated("attention.cu", $"attention_{kernel}_d64", before, after, others);
        bool forward = kernel == "forward";
        AttentionTiles tiles = kernel switch { "forward" => AttentionTiles.Forward(Width), "gradient_q" => AttentionTiles.GradientQ(Width), _ => AttentionTiles.GradientKv(Width) };
        int sharedBytes = tiles.SharedBytes;
        mutated.AllowDynamicShared(sharedBytes);
        CudaDeviceVariable<uint> ds = new(Context, AttentionScratch.Of(new(1, Tokens, 1, 1, Width)).GroupBytes / sizeof(uint));
        ulong qkv = Zeros<ushort>(Tokens * 3 * Width), rows = Zeros<ushort>(Tokens * Width), statistics = Zeros<float>(Tokens);
        if (forward)
        {
            mutated.Launch(Stream, 2, 128, sharedBytes, qkv, rows, statistics, Tokens, 1, 1);
        }
        else
        {
            CudaKernel keys = kernel == "gradient_kv" ? mutated : Mutated("attention.cu", "attention_gradient_kv_d64", "u32", "u32", others);
            int keysShared = AttentionTiles.GradientKv(Width).SharedBytes;
            keys.AllowDynamicShared(keysShared);
            ulong angles = Zeros<float>(Tokens * Width), gradient = Zeros<ushort>(Tokens * 3 * Width);
            keys.Launch(Stream, 2, 128, keysShared, qkv, rows, statistics, Zeros<float>(Tokens), angles, gradient, ds.Address, Tokens, 1, 1, 0);
            if (kernel == "gradient_q")
            {
                mutated.Launch(Stream, 2, 128, sharedBytes, qkv, ds.Address, angles, gradient, Tokens, 1, 1, 0);
            }
        }

        Caught($"attention_{kernel}_d64", expected);
    }

    [Theory]
    [InlineData("columns - c, y);\n}", "columns - c + 1, y);\n}", "race on global memory")]
    [InlineData("return row < rows;", "return row <= rows;", "past the end of allocation")]
    [InlineData("if (count >= 8 && aligned_16(p)) {\n        load_8(p, f);", "if (count >= 8) {\n        load_8(p, f);", "not a multiple of 16")]
    public void Add_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 3, Columns = 13;
        Mutated("elementwise.cu", "add_fp32", before, after).Launch(Stream, 1, 256, 0,
            Zeros<float>(Rows * Columns), Columns, Zeros<float>(Rows * Columns), Columns, Rows, Columns);
        Caught("add_fp32", expected);
    }

    [Theory]
    [InlineData("if (columns - c >= 8 && ((u64)from | (u64)to) % alignof(Vector) == 0)", "if (columns - c >= 8)", "not a multiple of 16")]
    [InlineData("j < min(8, columns - c)", "j <= min(8, columns - c)", "race on global memory")]
    public void Copy_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 3, Columns = 13;
        Mutated("elementwise.cu", "copy_16bit", before, after).Launch(Stream, 1, 256, 0,
            Zeros<ushort>(Rows * Columns), Columns, Zeros<ushort>(Rows * Columns), Columns, Rows, Columns);
        Caught("copy_16bit", expected);
    }

    [Fact]
    public void SiluBackward_StrideOfTheWrongOperand_IsCaught()
    {
        const int Rows = 3, Columns = 8;
        Mutated("activation.cu", "silu_backward", "dy + (size_t)row * dy_stride", "dy + (size_t)row * x_stride").Launch(Stream, 1, 256, 0,
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
        CudaDeviceVariable<ushort> code = new(Context, Rows * Columns);
        code.CopyFrom([.. Enumerable.Repeat(Bf16.From(1), Rows * Columns)]);
        // The wire starts one byte into its buffer, as it may in a frame.
        Mutated("code.cu", "code_pack_int8", before, after).Launch(Stream, 2, 256, 0, code.Address, Columns, Zeros<byte>((Rows * (Columns + 2)) + 1) + 1, Rows, Columns);
        Caught("code_pack_int8", expected);
    }

    [Theory]
    [InlineData("partials[threadIdx.x / 32] = x;\n    __syncthreads();", "partials[threadIdx.x / 32] = x;", "never written")]
    [InlineData("min(count, start + ChunkElements)", "start + ChunkElements", "past the end of allocation")]
    public void Sum_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Count = 1000;
        CudaKernel kernel = Mutated("reduction.cu", "sum_bf16", before, after);
        kernel.Launch(Stream, 1, 256, 0, Zeros<ushort>(Count), Zeros<double>(1), (long)Count);
        Caught("sum_bf16", expected);
    }

    [Theory]
    [InlineData("    __syncthreads();\n\n    if ((int)threadIdx.x >= width) return;", "    if ((int)threadIdx.x >= width) return;", "race on shared memory|never written")]
    [InlineData("const bool seen = key < end;", "const bool seen = key <= end;", "past the end of allocation")]
    [InlineData("group * width + c + j] = o[j]", "group * width + c + j + 8] = o[j]", "array index 2048 is out of bounds")]
    public void AttentionCached_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Width = 64, Tokens = 33;
        Mutated("attention_cached.cu", "attention_cached", before, after).Launch(Stream, 1, 256, 0,
            Zeros<ushort>(3 * Width), 3 * Width, Zeros<ushort>(Tokens * Width), Width, Zeros<ushort>(Tokens * Width), Width,
            Zeros<ushort>(Width), Width, Zeros<float>(1), Tokens - 1, 1, 1, Width);
        Caught("attention_cached", expected);
    }

    [Fact]
    public void AttentionCachedMerge_SpanNeverComputed_IsCaught()
    {
        const int Width = 8;
        CudaKernel kernel = Mutated("attention_cached.cu", "attention_cached_merge", "int spans,", "int spans,");
        // Three spans were launched, the merge is told four.
        CudaDeviceVariable<float> partial = new(Context, 4 * (Width + 2));
        partial.CopyFrom(new float[3 * (Width + 2)]);
        kernel.Launch(Stream, 1, 32, 0, partial.Address, Zeros<ushort>(Width), Width, 4, Width);
        Caught("attention_cached_merge", "was never written");
    }

    [Theory]
    [InlineData("muon_momentum", "    __syncthreads();\n    if (threadIdx.x > 0) return;", "    if (threadIdx.x > 0) return;", "never written")]
    [InlineData("muon_momentum", "const int here = (int)min(8ll, end - i);", "const int here = 8;", "past the end of allocation")]
    [InlineData("muon_direction", "    if (!tall) return;\n    __syncthreads();", "    if (!tall) return;", "race on shared memory|never written")]
    [InlineData("muon_direction", "if (at.row >= rows || at.column >= columns) continue;", "if (at.row > rows || at.column >= columns) continue;", "past the end of allocation")]
    public void Muon_Mutated_IsCaught(string name, string before, string after, string expected)
    {
        const int Rows = 37, Columns = 33, Count = Rows * Columns;
        CudaKernel kernel = Mutated("muon.cu", name, before, after);
        if (name == "muon_momentum")
        {
            kernel.Launch(Stream, 1, 256, 0, Zeros<float>(Count), Zeros<float>(Count), Zeros<float>(3), Zeros<float>(1), Zeros<double>(1), (long)Count);
        }
        else
        {
            kernel.Launch(Stream, new(2, 2, 1), 256, 0, Zeros<float>(Count), Zeros<float>(Count), Zeros<float>(3), Zeros<float>(1), Zeros<double>(1), Zeros<ushort>(Count), Rows, Columns);
        }

        Caught(name, expected);
    }

    [Theory]
    [InlineData("        }\n        __syncthreads();\n    }\n#pragma unroll\n    for (int turn = 0; turn < Turns; turn++) {\n        const TileWalk at(turn);\n        if", "        }\n    }\n#pragma unroll\n    for (int turn = 0; turn < Turns; turn++) {\n        const TileWalk at(turn);\n        if", "race on shared memory|never written")]
    [InlineData("x[(size_t)column * rows + row]", "x[(size_t)column * rows + row + 1]", "past the end of allocation")]
    public void MuonUpdate_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Rows = 37, Columns = 33, Count = Rows * Columns;
        Mutated("muon.cu", "muon_update", before, after).Launch(Stream, new(2, 2, 1), 256, 0,
            Zeros<ushort>(Count), Zeros<ushort>(Count), Zeros<ushort>(Count), Zeros<float>(3), Zeros<float>(1), Rows, Columns);
        Caught("muon_update", expected);
    }

    [Theory]
    [InlineData("chunk[threadIdx.x] = terms[first + threadIdx.x];\n        __syncthreads();", "chunk[threadIdx.x] = terms[first + threadIdx.x];", "race on shared memory|never written")]
    [InlineData("        __syncthreads();  // the chunk before", "        // the chunk before", "race on shared memory")]
    [InlineData("(int)threadIdx.x < here", "(int)threadIdx.x <= here", "past the end of allocation")]
    [InlineData("if (threadIdx.x > 0) return;", "", "race on global memory")]
    public void ClipScale_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Tensors = 300, Microbatches = 3;
        Mutated("clip.cu", "clip_scale", before, after).Launch(Stream, 1, 256, 0,
            Zeros<double>(Tensors), Tensors, Zeros<double>(Microbatches), Microbatches, 1.0, Zeros<double>(2), Zeros<float>(1));
        Caught("clip_scale", expected);
    }

    [Theory]
    [InlineData("j < here ? join_master", "j <= here ? join_master", "past the end of allocation")]
    [InlineData("if (here == 8 && aligned_16(high + at) && aligned_16(low + at))", "if (here == 8)", "not a multiple of 16")]
    public void HashWeights_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Count = 11;
        Mutated("hash.cu", "hash_weights", before, after).Launch(Stream, 1, 256, 0,
            Zeros<ushort>(Count + 1) + 2, Zeros<ushort>(Count + 1) + 2, Zeros<ulong>(1), 0L, (long)Count);
        Caught("hash_weights", expected);
    }

    [Fact]
    public void HashWeights_SumNotZeroed_IsCaught()
    {
        CudaDeviceVariable<ulong> neverZeroed = new(Context, 1);
        Mutated("hash.cu", "hash_weights_fp32", "u64 sum = 0;", "u64 sum = 0;").Launch(Stream, 1, 256, 0, Zeros<float>(8), neverZeroed.Address, 0L, 8L);
        Caught("hash_weights_fp32", "was never written");
    }

    [Theory]
    [InlineData("histogram[threadIdx.x] = 0;\n        __syncthreads();", "histogram[threadIdx.x] = 0;", "race on shared memory|never written")]
    [InlineData("histogram[threadIdx.x] = 0;\n        __syncthreads();", "__syncthreads();", "never written")]
    [InlineData("sums[warp] = inclusive;\n    __syncthreads();", "sums[warp] = inclusive;", "race on shared memory|never written")]
    [InlineData("found[1] = rank - before;\n        __syncthreads();", "found[1] = rank - before;", "race on shared memory|never written")]
    [InlineData("    __syncthreads();\n\n    unsigned char* to", "    unsigned char* to", "race on shared memory|never written")]
    [InlineData("min(8ll, count - first - part));\n        float e[8], v[8];", "min(8ll, count - first - part + 1));\n        float e[8], v[8];", "past the end of allocation")]
    [InlineData("equal < rank);", "equal <= rank);", "array index 512 is out of bounds")]
    public void TopKPack_Mutated_IsCaught(string before, string after, string expected)
    {
        const int Count = 3001, Kept = 512;
        Mutated("topk.cu", "topk_pack", before, after).Launch(Stream, 1, 256, 0,
            Zeros<float>(Count), Zeros<float>(Count), 1f, Kept, Zeros<byte>(TopKWire.ChunkBytes(Kept)), (long)Count);
        Caught("topk_pack", expected);
    }

    [Fact]
    public void TopKAdd_PlacesPastTheEnd_IsCaught()
    {
        const int Count = 3, Kept = 4;
        CudaDeviceVariable<byte> wire = new(Context, TopKWire.ChunkBytes(Kept));
        wire.CopyFrom(Oracle.TopKPack(new float[Count], new float[Count], 1, Kept).Wire);
        Mutated("topk.cu", "topk_add", "if (at >= count) continue;", "").Launch(Stream, 1, 256, 0, wire.Address, Kept, 1f, Zeros<float>(Count), (long)Count);
        Caught("topk_add", "past the end of allocation");
    }

    [Theory]
    [InlineData("rmsnorm.cu", "add_rmsnorm_forward", "if (Add) added[i] = c < chunks ?", "if (Add) added[i] = c <= chunks ?")]
    [InlineData("swiglu.cu", "swiglu_forward", "if (i >= chunks) return;\n    const size_t row = i / per_row;\n    const u32 column = i % per_row * 8;\n    const bf16* gates", "if (i > chunks) return;\n    const size_t row = i / per_row;\n    const u32 column = i % per_row * 8;\n    const bf16* gates")]
    [InlineData("rotary.cu", "rotary", "if (i >= chunks) return;", "if (i > chunks) return;")]
    [InlineData("adamw.cu", "adamw", "if (count - first >= 4)", "if (count - first >= 3)")]
    public void ElementKernel_OneTooFar_IsCaught(string source, string name, string before, string after)
    {
        const int Columns = 264;
        CudaKernel kernel = Mutated(source, name, before, after);
        ulong Rows() => Zeros<ushort>(Columns);
        switch (name)
        {
            case "add_rmsnorm_forward":
                kernel.Launch(Stream, 1, 64, 0, Rows(), Rows(), Rows(), Rows(), Rows(), Zeros<float>(1), Columns, 1e-5f);
                break;
            case "swiglu_forward":
                kernel.Launch(Stream, 1, 256, 0, Zeros<ushort>(2 * Columns), Rows(), Columns, (long)Columns / 8);
                break;
            case "rotary":
                kernel.Launch(Stream, 1, 256, 0, Zeros<ushort>(3 * 64), Zeros<float>(64), 1, 2, 3 * 64, 64, 0, 1f, 8L);
                break;
            default:
                kernel.Launch(Stream, 1, 256, 0, Zeros<ushort>(15), Zeros<ushort>(15), Zeros<float>(15), Zeros<float>(15), Zeros<float>(15), Zeros<uint>(9), Zeros<float>(1), 15L);
                break;
        }

        Caught(name, "past the end of allocation");
    }

    CudaKernel Mutated(string source, string kernel, string before, string after, params string[] leftOut)
    {
        string text = KernelSources.Read(source).Replace("#include \"ptx.cuh\"", KernelSources.Read("ptx.cuh").Replace("#pragma once", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains(before, text, StringComparison.Ordinal);
        string mutated = text.Replace(before, after, StringComparison.Ordinal);
        foreach (string line in leftOut)
        {
            Assert.Contains(line, mutated, StringComparison.Ordinal);
            mutated = mutated.Replace(line, "", StringComparison.Ordinal);
        }

        return new CudaModule(Context, SoftwareCuda.Compiler.CompileText(source, mutated, "sm_80")).Kernel(kernel);
    }

    void Caught(string kernel, string expected)
    {
        string fault = FaultOf(kernel);
        Assert.True(expected.Split('|').Any(e => fault.Contains(e, StringComparison.Ordinal)), $"expected {expected}: {fault}");
    }
}
