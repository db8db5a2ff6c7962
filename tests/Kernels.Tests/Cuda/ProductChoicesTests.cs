// Choices of product algorithms: kept over processes, safe against half a line, and made by timing without touching the result.
using OrionNative.Kernels.Cuda;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public sealed unsafe class ProductChoicesTests(SoftwareCuda cuda) : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("orion-test-").FullName;

    [Fact]
    public void Choice_AddedThenReadAgain_IsTheSame()
    {
        CublasLtAlgorithm algorithm = default;
        algorithm.Data[0] = 7;
        algorithm.Data[7] = ulong.MaxValue;
        new ProductChoices(_folder, "card A").Add("shape", algorithm);
        string file = Assert.Single(Directory.GetFiles(_folder));
        File.AppendAllText(file, "torn 0123\nother");

        ProductChoices again = new(_folder, "card A");
        Assert.True(again.TryFind("shape", out CublasLtAlgorithm found));
        Assert.Equal((7UL, ulong.MaxValue), (found.Data[0], found.Data[7]));
        Assert.False(again.TryFind("torn", out _));
        Assert.False(new ProductChoices(_folder, "card B").TryFind("shape", out _));
    }

    [Fact]
    public void Fastest_ByMedians_TakesTheFirstOfEquals()
    {
        Assert.Equal(1, ProductChoices.Fastest([[3, 3, 3], [1, 9, 1], [2, 2, 0]]));
        Assert.Equal(0, ProductChoices.Fastest([[1, 1, 1], [1, 1, 1]]));
    }

    [Fact]
    public void Multiply_WithChoices_TimesOnceAndGivesTheSameResult()
    {
        using var a = cuda.Upload<float>([.. Enumerable.Range(0, 64).Select(i => (float)i)]);
        using var timed = cuda.Upload<float>(new float[64]);
        using var plain = cuda.Upload<float>(new float[64]);
        Tensor x = new((nint)a.Address, ElementType.Float32, 8, 8);
        for (int process = 0; process < 2; process++)
        {
            using CublasLt products = new(cuda.Context, new ProductChoices(_folder, "card"));
            products.Multiply(cuda.Stream, x, false, x, true, new((nint)timed.Address, ElementType.Float32, 8, 8), 1, 1);
            cuda.Stream.Synchronize();
            Assert.Single(File.ReadLines(Assert.Single(Directory.GetFiles(_folder))));
            using CublasLt first = new(cuda.Context);
            first.Multiply(cuda.Stream, x, false, x, true, new((nint)plain.Address, ElementType.Float32, 8, 8), 1, 1);
        }

        // beta is 1: a timing that wrote to the result would have added itself
        Assert.Equal(cuda.Download(plain), cuda.Download(timed));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
