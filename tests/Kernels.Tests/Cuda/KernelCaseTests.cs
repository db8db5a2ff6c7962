// The cases of `kernels check` pass on the software device, each against the oracle.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public class KernelCaseTests(SoftwareCuda cuda)
{
    public static TheoryData<string> Names => [.. KernelCases.Names];

    [Theory, MemberData(nameof(Names))]
    public void Case_OnTheSoftwareDevice_IsWithinItsTolerances(string name)
    {
        using KernelCase made = KernelCases.Make(name, 1, cuda.Context, SoftwareCuda.Compiler, cuda.Stream);
        made.Launch();
        made.Stream.Synchronize();
        Assert.All(made.Results(), result => Assert.InRange(result.WorstRatio(), 0, 1));
    }
}
