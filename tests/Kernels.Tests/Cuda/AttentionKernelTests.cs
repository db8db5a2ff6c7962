// attention.cu against loops in double, over lengths that fill no tile, one tile and several, and head groups of 1, 2 and 3.
// Tolerances: p and ds are rounded to bf16 before they meet the second product, so each term of that sum is off by at most one
// rounding; the result is rounded once more. fp32 adds 2^-24 per operation, times the number of terms.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class AttentionKernelTests(SoftwareCuda cuda)
{
    public static TheoryData<int, int, int, int, int> Shapes => new()
    {
        { 1, 1, 1, 1, 64 }, { 2, 17, 2, 1, 64 }, { 1, 64, 1, 1, 128 }, { 1, 130, 3, 1, 64 }, { 2, 70, 2, 1, 32 }, { 2, 100, 4, 2, 128 }, { 1, 290, 1, 1, 128 }, { 1, 290, 2, 1, 64 },
    };

    [Theory, MemberData(nameof(Shapes))]
    public void Attention_ForwardAndBackward_MatchDouble(int sequences, int tokens, int heads, int keyHeads, int width)
    {
        AttentionShape shape = new(sequences, tokens, heads, keyHeads, width);
        Random random = new(tokens);
        ushort[] qkv = Bf16.Random(random, shape.Rows * shape.PackedColumns, 2), gradient = Bf16.Random(random, shape.Rows * shape.OutputColumns);
        AttentionBounds reference = new(shape, qkv, gradient);

        using var packed = cuda.Upload<ushort>(qkv);
        using var output = cuda.Allocate<ushort>((long)shape.Rows * shape.OutputColumns);
        using var logSumExp = cuda.Allocate<float>((long)heads * shape.Rows);
        AttentionTiles tiles = AttentionTiles.Forward(width);
        Launch("forward", tiles.Grid(shape, heads), tiles.SharedBytes, shape, packed.Address, output.Address, logSumExp.Address, tokens, heads, keyHeads);
        Bf16.Close(reference.Output, Bf16.Widen(cuda.Download(output)), reference.OutputError, "o");
        Bf16.Close(reference.LogSumExp, Bf16.Widen(cuda.Download(logSumExp)), 4 * Bf16.Single, (tokens + (4 * width)) * Bf16.Single, "logsumexp");

        // Backward starts from the exact forward, rounded as it is stored, so that its own error is seen alone.
        using var stored = cuda.Upload<ushort>(reference.StoredOutput);
        using var statistics = cuda.Upload<float>([.. reference.LogSumExp.Select(l => (float)l)]);
        using var gradOutput = cuda.Upload<ushort>(gradient);
        using var delta = cuda.Allocate<float>((long)heads * shape.Rows);
        using var gradQkv = cuda.Allocate<ushort>(qkv.Length);
        Launch("delta", AttentionTiles.DeltaBlocks(shape), 0, shape, stored.Address, gradOutput.Address, delta.Address, tokens, heads, shape.Rows);
        // A group of heads at a time, as a long context is worked on: each finds its own place.
        AttentionScratch scratch = AttentionScratch.Of(shape, most: 1);
        Assert.Equal(1, scratch.GroupsAtOnce);
        using var ds = cuda.Allocate<uint>(scratch.GroupBytes / sizeof(uint));
        AttentionTiles keys = AttentionTiles.GradientKv(width), queries = AttentionTiles.GradientQ(width);
        for (int group = 0; group < sequences * keyHeads; group++)
        {
            Launch("gradient_kv", keys.Blocks(tokens, 1), keys.SharedBytes, shape,
                packed.Address, gradOutput.Address, statistics.Address, delta.Address, 0UL, gradQkv.Address, ds.Address, tokens, heads, keyHeads, group);
            Launch("gradient_q", queries.Blocks(tokens, heads / keyHeads), queries.SharedBytes, shape,
                packed.Address, ds.Address, 0UL, gradQkv.Address, tokens, heads, keyHeads, group);
        }

        Bf16.Close(reference.GradQkv, Bf16.Widen(cuda.Download(gradQkv)), reference.GradQkvError, "gradQkv");
    }

    [Fact]
    public unsafe void Attention_AnyOrderOfWarps_GivesTheSameBits()
    {
        AttentionShape shape = new(1, 130, 2, 1, 64);
        using var packed = cuda.Upload<ushort>(Bf16.Random(new Random(3), shape.Rows * shape.PackedColumns));
        using var output = cuda.Allocate<ushort>((long)shape.Rows * shape.OutputColumns);
        using var logSumExp = cuda.Allocate<float>((long)shape.QueryHeads * shape.Rows);
        ushort[]? first = null;
        try
        {
            for (uint seed = 0; seed < 3; seed++)
            {
                cuda.Context.Driver.softSetScheduleSeed(seed);
                Launch("forward", AttentionTiles.Forward(64).Grid(shape, 2), AttentionTiles.Forward(64).SharedBytes, shape, packed.Address, output.Address, logSumExp.Address, 130, 2, 1);
                ushort[] bits = cuda.Download(output);
                Assert.Equal(first ??= bits, bits);
            }
        }
        finally
        {
            cuda.Context.Driver.softSetScheduleSeed(0);
        }
    }

    [Theory]
    [InlineData(1, 4096, 32, 8, 2L << 30, 8, 1)]
    [InlineData(1, 8192, 32, 8, 2L << 30, 4, 2)]
    [InlineData(1, 8192, 32, 8, 1, 1, 8)]
    public void AttentionScratch_OfAShape_SharesTheGroupsEvenlyBelowTheLimit(int sequences, int tokens, int heads, int keyHeads, long most, int atOnce, int launches)
    {
        AttentionScratch scratch = AttentionScratch.Of(new(sequences, tokens, heads, keyHeads, 128), most);
        Assert.Equal(atOnce, scratch.GroupsAtOnce);
        Assert.Equal(launches, (sequences * keyHeads / atOnce) + (sequences * keyHeads % atOnce > 0 ? 1 : 0));
        // Squares of 128 by 128 bf16 on and below the diagonal.
        long squares = Enumerable.Range(1, tokens / 128).Sum(row => (long)row);
        Assert.Equal(2L * 128 * 128 * squares * (heads / keyHeads), scratch.GroupBytes);
        Assert.True(scratch.GroupsAtOnce == 1 || scratch.GroupsAtOnce * scratch.GroupBytes <= most);
    }

    void Launch(string name, LaunchSize grid, int sharedBytes, AttentionShape shape, params ReadOnlySpan<KernelArgument> arguments)
    {
        CudaKernel kernel = cuda.Kernel("attention.cu", $"attention_{name}_d{shape.HeadWidth}");
        kernel.AllowDynamicShared(sharedBytes);
        kernel.Launch(cuda.Stream, grid, AttentionTiles.Threads, sharedBytes, arguments);
    }
}
