// `kernels` as a user types it, on the software device: exit codes, and errors that name what there is.
using System.CommandLine;
using OrionNative.Engine.Cli;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Tests.Cli;

public class KernelsCommandTests
{
    static int Run(params string[] arguments)
    {
        if (CudaLibraries.Software.NotSupportedReason is { } reason)
        {
            Assert.Skip(reason);
        }

        RootCommand root = new();
        root.Add(KernelsCommand.Create());
        return root.Parse(["kernels", .. arguments]).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
    }

    [Fact]
    public void Check_OneKernel_IsDone() => Assert.Equal(ExitStatus.Done, Run("check", "--device", "softcuda:0", "--kernel", "rotary"));

    [Fact]
    public void Check_UnknownKernel_NamesTheKnown() =>
        Assert.Contains("rotary", Assert.Throws<ConfigurationException>(() => Run("check", "--device", "softcuda:0", "--kernel", "rotari")).Message, StringComparison.Ordinal);

    [Fact]
    public void Check_DeviceThatIsNotThere_IsNamed() =>
        Assert.Contains("device 'softcuda:77' is not on this machine", Assert.Throws<ConfigurationException>(() => Run("check", "--device", "softcuda:77")).Message, StringComparison.Ordinal);

    [Fact]
    public void List_NoArchitecture_IsNamed() =>
        Assert.Contains("'hopper' is no architecture", Assert.Throws<ConfigurationException>(() => Run("list", "--arch", "hopper")).Message, StringComparison.Ordinal);

    [Fact]
    public void Check_UnknownDevice_NamesTheForms() =>
        Assert.Contains("softcuda:0", Assert.Throws<ConfigurationException>(() => Run("check", "--device", "gpu")).Message, StringComparison.Ordinal);
}
