// The cases of `kernels check` pass on the software device, each shape against the oracle, and no kernel is without a case. In another order
// of blocks, warps and lanes every kernel gives the same bits.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class KernelCaseTests(SoftwareCuda cuda)
{
    // Moves, and integers.
    static readonly string[] _noFlops = ["fill_", "copy_", "hash_", "embedding_forward"];

    static readonly Lazy<CudaRuntimeCompiler> _asACard = new(() => new(CudaLibraries.Software.Nvrtc, CubinCache.Default(), options: ["-DSOFT_CARD_ROUNDING"]));

    public static TheoryData<string> Names => [.. KernelCases.Names];

    [Theory, MemberData(nameof(Names))]
    public void Case_OnTheSoftwareDevice_IsWithinItsTolerances(string name) => IsWithinItsTolerances(name, SoftwareCuda.Compiler);

    // On a card a product and a sum are one rounding, 2^x and 1/x are off by an ulp or two, and tensor cores cut: results that must be the same
    // bits everywhere may depend on none of it, and no tolerance may have been measured where there is none of it.
    [Theory, MemberData(nameof(Names))]
    public void Case_RoundedAsLooselyAsOnACard_IsWithinItsTolerances(string name) => IsWithinItsTolerances(name, _asACard.Value);

    void IsWithinItsTolerances(string name, CudaRuntimeCompiler compiler)
    {
        for (int variant = 0, variants = 1; variant < variants; variant++)
        {
            using KernelCase made = KernelCases.Make(name, variant, size: 0, cuda.Context, compiler, cuda.Stream);
            variants = made.Variants;
            made.Launch();
            made.Stream.Synchronize();
            Assert.NotEqual(0, made.Bytes);
            Assert.True(made.Flops > 0 || _noFlops.Any(name.StartsWith), $"{name} says no FLOP");
            foreach (KernelResult result in made.Results())
            {
                double worst = result.WorstRatio();
                Assert.True(worst <= 1, $"{name} {made.Shape}: {result.Name} is off by {worst:G4} of what is allowed");
            }
        }
    }

    [Theory, MemberData(nameof(Names))]
    public unsafe void Case_InAnyOrderOfBlocksWarpsAndLanes_GivesTheSameBits(string name)
    {
        for (int variant = 0, variants = 1; variant < variants; variant++)
        {
            double[][]? first = null;
            try
            {
                foreach (uint seed in (uint[])[0, 0x5EED])
                {
                    cuda.Context.Driver.softSetScheduleSeed(seed);
                    using KernelCase made = KernelCases.Make(name, variant, size: 0, cuda.Context, SoftwareCuda.Compiler, cuda.Stream);
                    variants = made.Variants;
                    made.Launch();
                    made.Stream.Synchronize();
                    double[][] bits = [.. made.Results().Select(result => result.Actual())];
                    Assert.Equal(first ??= bits, bits);
                }
            }
            finally
            {
                cuda.Context.Driver.softSetScheduleSeed(0);
            }
        }
    }

    [Theory]
    [InlineData(double.NaN, 1, 1)]
    [InlineData(1, double.NaN, 1)]
    [InlineData(1, 1, double.NaN)]
    public void WorstRatio_NaNAnywhere_IsNotWithinTheTolerance(double first, double second, double third) =>
        Assert.False(new KernelResult("x", () => [first, second, third], [1, 1, 1], 0.5, 0).WorstRatio() <= 1);

    [Fact]
    public void EveryKernel_InTheRegisterTable_HasACase()
    {
        string[] kernels = [.. File.ReadLines(Path.Combine(RealNvrtcTests.Root(), "docs", "kernel-registers.txt")).Skip(2).Select(line => line.Split(' ')[0])];
        Assert.Equal(kernels.Order(StringComparer.Ordinal), KernelCases.Names.Order(StringComparer.Ordinal));
    }
}
