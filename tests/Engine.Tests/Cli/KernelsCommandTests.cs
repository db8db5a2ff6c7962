// `kernels` as a user types it, on the software device: exit codes, and errors that name what there is.
using System.CommandLine;
using System.Text.Json.Nodes;
using OrionNative.Engine.Cli;
using OrionNative.Engine.Tests.Data;
using OrionNative.Engine.Tests.Tidy;
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

    // the table is made by the tests of the kernels, from the compiler itself
    [Fact]
    public void List_ForAnArchitecture_PrintsTheTableOfRegisters()
    {
        Assert.SkipWhen(CudaLibraries.Real.NvrtcNotSupportedReason is not null, CudaLibraries.Real.NvrtcNotSupportedReason ?? "");
        Assert.SkipWhen($"{CudaLibraries.Real.Nvrtc.Version}" != "11.8", $"the table is of NVRTC 11.8, found is {CudaLibraries.Real.Nvrtc.Version}");
        using TemporaryFolder folder = new();
        (int status, string output, _) = DataCommandsTests.Engine(folder, "kernels", "list", "--arch", "sm_80", "--json");
        Assert.Equal(ExitStatus.Done, status);
        Assert.Equal(
            from line in File.ReadLines(Path.Combine(Repository.Root, "docs", "kernel-registers.txt")).Skip(2)
            let cells = line.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            select $"{cells[0]} {cells[1]} {cells[2]}",
            from kernel in JsonNode.Parse(output)!["kernels"]!.AsArray()
            let spills = (int)kernel["spillBytes"]!
            select $"{kernel["kernel"]} {kernel["source"]} {kernel["registers"]}{(spills > 0 ? $"+{spills}" : "")}");
    }

    [Fact]
    public void Check_UnknownDevice_NamesTheForms() =>
        Assert.Contains("softcuda:0", Assert.Throws<ConfigurationException>(() => Run("check", "--device", "gpu")).Message, StringComparison.Ordinal);
}
