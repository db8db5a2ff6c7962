// What a machine needs to run OrionNative, looked at one by one. Missing means that the main job fails; Absent means that
// an option is not there.
using System.Globalization;
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cpu;
using OrionNative.Kernels.Cuda;

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
        yield return Library("QUIC", "libngtcp2.so.16", "run `./orion doctor` once: it fetches ngtcp2 from Debian's backports; without it only the TCP transport works");
        yield return Cuda("CUDA", CudaLibraries.Real, "cuda:0");
        yield return Cuda("software CUDA", CudaLibraries.Software, "softcuda:0");
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

    static Finding Cuda(string subject, CudaLibraries libraries, string selector)
    {
        if (libraries.NotSupportedReason is { } reason)
        {
            string[] parts = reason.Split("; fix: ");
            return new Finding(subject, FindingKind.Absent, parts[0], parts.Length > 1 ? parts[1] : null);
        }

        try
        {
            using CudaContext context = CudaContext.Open(selector);
            return new Finding(subject, FindingKind.Good, $"{context.Selector} is {context.DeviceName}, compute capability {context.Architecture / 10}.{context.Architecture % 10}");
        }
        catch (CudaException error)
        {
            return new Finding(subject, FindingKind.Absent, error.Message);
        }
    }

    static Finding Library(string subject, string name, string? fix)
    {
        if (NativeLibrary.TryLoad(name, out nint handle))
        {
            NativeLibrary.Free(handle);
            return new Finding(subject, FindingKind.Good, $"{name} loads");
        }

        return new Finding(subject, FindingKind.Absent, $"{name} is not on this machine", fix);
    }
}
