// What ptxas says about every kernel for every architecture, as a text that is checked in and reviewed as a diff. One line a
// kernel: its name, its file, then registers per architecture; a kernel that spills says so and fails the test.
using System.Text;

namespace OrionNative.Kernels.Cuda;

static class RegisterTable
{
    /// <summary>The architectures that every kernel must compile for.</summary>
    public static readonly string[] Architectures = ["sm_80", "sm_86", "sm_89", "sm_90"];

    /// <summary>Compiles every source for every architecture.</summary>
    public static string Build(CudaRuntimeCompiler compiler)
    {
        StringBuilder table = new();
        table.Append("# registers per thread by NVRTC 11.8; +N: N bytes of spills; smem: static shared bytes\n");
        table.Append($"{"kernel",-32} {"file",-20} {string.Join(' ', Architectures.Select(a => $"{a,8}"))} {"smem",6}\n");
        foreach (string source in KernelSources.Names)
        {
            Dictionary<string, KernelResources>[] all =
                [.. Architectures.Select(a => compiler.Compile(source, a).Resources.ToDictionary(r => r.Kernel))];
            foreach (string kernel in all[0].Keys.Order(StringComparer.Ordinal))
            {
                string figures = string.Join(' ', all.Select(r => $"{Figure(r[kernel]),8}"));
                table.Append($"{kernel,-32} {source,-20} {figures} {all[0][kernel].StaticSharedBytes,6}\n");
            }
        }

        return table.ToString();
    }

    /// <summary>Registers of a thread, and behind a plus the bytes that it spills.</summary>
    public static string Figure(KernelResources r) =>
        r.SpillStoreBytes + r.SpillLoadBytes == 0 ? $"{r.Registers}" : $"{r.Registers}+{r.SpillStoreBytes + r.SpillLoadBytes}";
}
