// What a machine needs to run OrionNative, looked at one by one. Missing means that the main job fails; Absent means that
// an option is not there.
using System.Globalization;
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cpu;
using OrionNative.Kernels.Cuda;
using OrionNative.Net.Nccl;
using OrionNative.Net.Quic;

namespace OrionNative.Engine.Hosting;

/// <summary>How serious a finding is.</summary>
enum FindingKind
{
    Good,
    Absent,
    Missing,
}

/// <summary>One thing looked at.</summary>
sealed record Finding(string Subject, FindingKind Kind, string Text, string? Fix = null);

static class Diagnosis
{
    public static IEnumerable<Finding> Examine()
    {
        yield return new Finding("runtime", FindingKind.Good, $".NET {Environment.Version}, {RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}");
        yield return new Finding("processor", FindingKind.Good, $"{Environment.ProcessorCount} threads, widest vector path {(int)VectorPathChoice.Widest} bits");
        yield return Memory();
        yield return Disk();
        yield return Quic(QuicLibrary.NotSupportedReason);
        foreach (Finding found in Cuda("CUDA", CudaLibraries.Real).Concat(Cuda("software CUDA", CudaLibraries.Software)))
        {
            yield return found;
        }

        yield return Nvrtc(CudaLibraries.Real);
        yield return NcclLibrary.Real.NotSupportedReason?.Split("; fix: ") is [string what, .. var fix]
            ? new Finding("NCCL", FindingKind.Absent, what, fix.FirstOrDefault())
            : new Finding("NCCL", FindingKind.Good, $"version {NcclLibrary.Real.Version}");
    }

    static Finding Memory()
    {
        double total = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1e9;
        return total >= 2
            ? new Finding("memory", FindingKind.Good, string.Create(CultureInfo.InvariantCulture, $"{total:F1} GB"))
            : new Finding("memory", FindingKind.Missing, string.Create(CultureInfo.InvariantCulture, $"{total:F1} GB; the quickstart needs 2"), "give this machine or container at least 2 GB");
    }

    static Finding Disk()
    {
        DriveInfo drive = new(Environment.CurrentDirectory);
        double free = drive.AvailableFreeSpace / 1e9;
        return free >= 1
            ? new Finding("disk", FindingKind.Good, string.Create(CultureInfo.InvariantCulture, $"{free:F1} GB free in {Environment.CurrentDirectory}"))
            : new Finding("disk", FindingKind.Missing, string.Create(CultureInfo.InvariantCulture, $"{free:F2} GB free in {Environment.CurrentDirectory}; checkpoints need about 1"), "free some space or run in another folder");
    }

    static List<Finding> Cuda(string subject, CudaLibraries libraries)
    {
        if (libraries.NotSupportedReason is { } reason)
        {
            string[] parts = reason.Split("; fix: ");
            return [new Finding(subject, FindingKind.Absent, parts[0], parts.Length > 1 ? parts[1] : null)];
        }

        List<Finding> found = [];
        try
        {
            int count = CudaContext.Count(libraries);
            for (int ordinal = 0; ordinal < count; ordinal++)
            {
                using CudaContext context = new(libraries, ordinal);
                found.Add(new Finding(subject, FindingKind.Good, string.Create(
                    CultureInfo.InvariantCulture,
                    $"--device {context.Selector} is {context.DeviceName}, compute capability {context.Architecture / 10}.{context.Architecture % 10}, {context.MemoryInfo().TotalBytes / 1e9:F1} GB")));
            }
        }
        catch (CudaException error)
        {
            found.Add(new Finding(subject, FindingKind.Absent, error.Message));
        }

        if (!libraries.IsSoftware)
        {
            found.Add(new Finding("CUDA libraries", FindingKind.Good, string.Create(
                CultureInfo.InvariantCulture,
                $"driver for CUDA {libraries.Driver.Version} ({libraries.Driver.Path}), NVRTC {libraries.Nvrtc.Version} ({libraries.Nvrtc.Path}), cuBLASLt {libraries.CublasLt.Version} ({libraries.CublasLt.Path})")));
        }

        return found;
    }

    /// <summary>QUIC joins the peers of a swarm, the quickstart's too: without it the main job fails.</summary>
    /// <param name="reason">Why it cannot be used, as the transport says it; null if it can.</param>
    public static Finding Quic(string? reason) => reason?.Split(" Fix: ") is [string what, .. string[] fix]
        ? new Finding("QUIC", FindingKind.Missing, $"{what} Without it one process trains, and a swarm does with --transport tcp", fix.FirstOrDefault())
        : new Finding("QUIC", FindingKind.Good, "ngtcp2 and GnuTLS load, in versions that fit");

    static Finding Nvrtc(CudaLibraries libraries) => libraries.NvrtcNotSupportedReason?.Split("; fix: ") is [string what, .. string[] fix]
        ? new Finding("NVRTC", FindingKind.Absent, what, fix.FirstOrDefault())
        : new Finding("NVRTC", FindingKind.Good, $"version {libraries.Nvrtc.Version} compiles kernels (`orion-engine kernels list`)");
}
