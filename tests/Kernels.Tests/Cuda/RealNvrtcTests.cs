// Every kernel with NVIDIA's own compiler, which needs no GPU: it compiles for every architecture, spills nothing, and uses the
// registers that are written down. ORION_REWRITE=registers rewrites the table.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

public class RealNvrtcTests
{
    [Fact]
    public void EveryKernel_EveryArchitecture_MatchesTheRegisterTable()
    {
        if (CudaLibraries.Real.NvrtcNotSupportedReason is { } reason)
        {
            Assert.Skip(reason);
        }

        if (CudaLibraries.Real.Nvrtc.Version != new Version(11, 8))
        {
            Assert.Skip($"the table is of NVRTC 11.8; here is {CudaLibraries.Real.Nvrtc.Version}; fix: ./orion test gets 11.8");
        }

        CudaRuntimeCompiler compiler = new(CudaLibraries.Real.Nvrtc, new CubinCache(Path.Combine(Path.GetTempPath(), "orion-tests-cubin")));
        string table = RegisterTable.Build(compiler);
        string path = Path.Combine(Root(), "docs", "kernel-registers.txt");
        if (Environment.GetEnvironmentVariable("ORION_REWRITE") == "registers")
        {
            File.WriteAllText(path, table);
        }

        Assert.DoesNotContain("+", table.Split('\n', 2)[1], StringComparison.Ordinal);
        Assert.Equal(File.ReadAllText(path), table);
    }

    [Fact]
    public void GpuStatus_EveryKernel_HasALine()
    {
        string docs = Path.Combine(Root(), "docs");
        string[] kernels = [.. File.ReadLines(Path.Combine(docs, "kernel-registers.txt")).Skip(2).Select(line => line.Split(' ')[0])];
        string status = File.ReadAllText(Path.Combine(docs, "gpu-status.md"));
        Assert.NotEmpty(kernels);
        Assert.All(kernels, kernel => Assert.Contains($"| `{kernel}` |", status, StringComparison.Ordinal));
    }

    public static string Root()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "OrionNative.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new InvalidOperationException("the tests run inside the repository");
    }
}
