// Finds NCCL when it is first asked for: Python wheels of an active environment, CUDA_PATH, the loader's own path, then
// <ORION_ROOT>/.local. The software device's look-alike is a library of its own, asked for by name, never found by accident.
// A machine without NCCL starts as if nothing were missing; whoever needs it gets what was tried, and the fix.
using System.Runtime.InteropServices;
using NcclFunctions = OrionNative.Net.Nccl.Interop.Nccl;

namespace OrionNative.Net.Nccl;

/// <summary>NVIDIA's library, or the software device's.</summary>
public sealed unsafe class NcclLibrary
{
    const string RealName = "libnccl.so.2";
    const string SoftwareName = "libnccl_soft.so";
    readonly Lazy<(NcclFunctions? Functions, string Reason)> _loaded;

    NcclLibrary(bool software) => _loaded = new(() => Load(software));

    /// <summary>NVIDIA's NCCL.</summary>
    public static NcclLibrary Real { get; } = new(software: false);

    /// <summary>The look-alike in native/, among the software devices of this process.</summary>
    public static NcclLibrary Software { get; } = new(software: true);

    /// <summary>Why NCCL cannot be used, with the fix; null if it can.</summary>
    public string? NotSupportedReason => _loaded.Value.Functions is null ? _loaded.Value.Reason : null;

    /// <summary>Version as NCCL writes it: 22105 is 2.21.5.</summary>
    public int Version
    {
        get
        {
            int version;
            Check(Functions.ncclGetVersion(&version), "ncclGetVersion", 0);
            return version;
        }
    }

    /// <exception cref="PlatformNotSupportedException">NCCL is not here; the message says what was tried and the fix.</exception>
    internal NcclFunctions Functions => _loaded.Value.Functions ?? throw new PlatformNotSupportedException(_loaded.Value.Reason);

    /// <exception cref="NcclException">The call failed.</exception>
    internal void Check(int result, string call, nint communicator)
    {
        if (result != 0)
        {
            string meaning = Marshal.PtrToStringUTF8((nint)Functions.ncclGetErrorString(result)) ?? "unknown result";
            string detail = Marshal.PtrToStringUTF8((nint)Functions.ncclGetLastError(communicator)) ?? "";
            throw new NcclException(result, $"{call} failed: {meaning} ({result}){(detail.Length > 0 ? $": {detail}" : "")}");
        }
    }

    static (NcclFunctions?, string) Load(bool software)
    {
        List<string> tried = [];
        foreach (string candidate in software ? SoftwareCandidates() : RealCandidates())
        {
            tried.Add(candidate);
            if (NativeLibrary.TryLoad(candidate, out nint library))
            {
                try
                {
                    return (new NcclFunctions(library), "");
                }
                catch (EntryPointNotFoundException missing)
                {
                    return (null, $"{candidate} is too old: {missing.Message} fix: install NCCL 2.13 or later");
                }
            }
        }

        string fix = software ? "cmake -S . -B build/native && cmake --build build/native (needs g++ and cmake)" : "install NCCL 2.13 or later (package libnccl2, or the wheel nvidia-nccl-cu12)";
        return (null, $"{(software ? SoftwareName : RealName)} was not found (tried {string.Join(", ", tried)}); fix: {fix}");
    }

    static IEnumerable<string> RealCandidates()
    {
        foreach (string variable in (string[])["VIRTUAL_ENV", "CONDA_PREFIX"])
        {
            string library = Path.Combine(Environment.GetEnvironmentVariable(variable) ?? "", "lib");
            foreach (string python in Path.IsPathRooted(library) && Directory.Exists(library) ? Directory.EnumerateDirectories(library, "python3*") : [])
            {
                yield return Path.Combine(python, "site-packages", "nvidia", "nccl", "lib", RealName);
            }
        }

        if (Environment.GetEnvironmentVariable("CUDA_PATH") is { Length: > 0 } cuda)
        {
            yield return Path.Combine(cuda, "lib64", RealName);
        }

        yield return RealName;
        if (Environment.GetEnvironmentVariable("ORION_ROOT") is { Length: > 0 } root)
        {
            yield return Path.Combine(root, ".local", "usr", "lib", "x86_64-linux-gnu", RealName);
        }
    }

    static IEnumerable<string> SoftwareCandidates()
    {
        if (Environment.GetEnvironmentVariable("ORION_SOFTCUDA") is { Length: > 0 } chosen)
        {
            yield return Path.Combine(chosen, SoftwareName);
            yield break;
        }

        yield return Path.Combine(AppContext.BaseDirectory, SoftwareName);
        if (Environment.GetEnvironmentVariable("ORION_ROOT") is { Length: > 0 } root)
        {
            yield return Path.Combine(root, "build", "native", SoftwareName);
        }

        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (File.Exists(Path.Combine(folder, "OrionNative.sln")))
            {
                yield return Path.Combine(folder, "build", "native", SoftwareName);
            }
        }
    }
}

/// <summary>A call of NCCL that failed: the call, the rank, NCCL's meaning and its last error.</summary>
public sealed class NcclException(int result, string message) : Exception(message)
{
    /// <summary>ncclResult_t.</summary>
    public int Result => result;
}
