// A native library that may be absent: where it was looked for, and its entry points by name.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda.Interop;

/// <summary>A loaded library; it stays loaded for the life of the process, as its function pointers do.</summary>
sealed class LoadedLibrary(nint handle, string path)
{
    public string Path => path;

    /// <exception cref="DllNotFoundException">The library lacks the entry point: it is too old.</exception>
    public nint Export(string name) =>
        NativeLibrary.TryGetExport(handle, name, out nint address)
            ? address
            : throw new DllNotFoundException($"{path} has no {name}: it is older than CUDA 11.4; install a newer one");

    public nint ExportOrZero(string name) => NativeLibrary.TryGetExport(handle, name, out nint address) ? address : 0;

    /// <summary>Tries each candidate; null when none loads, with what was tried.</summary>
    public static LoadedLibrary? TryLoad(IEnumerable<string> candidates, out string tried)
    {
        List<string> names = [];
        foreach (string candidate in candidates)
        {
            names.Add(candidate);
            PreloadCompanions(candidate);
            if (NativeLibrary.TryLoad(candidate, out nint handle))
            {
                tried = "";
                return new LoadedLibrary(handle, candidate);
            }
        }

        tried = string.Join(", ", names);
        return null;
    }

    // NVRTC opens libnvrtc-builtins by name when it compiles; loaded before by full path, it is found wherever it lies.
    static void PreloadCompanions(string candidate)
    {
        string? folder = System.IO.Path.GetDirectoryName(candidate);
        if (string.IsNullOrEmpty(folder) || !System.IO.Path.GetFileName(candidate).StartsWith("libnvrtc.", StringComparison.Ordinal))
        {
            return;
        }

        foreach (string companion in Directory.EnumerateFiles(folder, "libnvrtc-builtins.so*"))
        {
            NativeLibrary.TryLoad(companion, out _);
        }
    }
}
