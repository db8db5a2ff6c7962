// Where CUDA's libraries may lie, in the order in which other tools look (cuda.pathfinder): Python wheels of an active
// environment, CUDA_PATH, the loader's own path, the usual folders, and this project's .local.
using System.Globalization;

namespace OrionNative.Kernels.Cuda.Interop;

static class LibrarySearch
{
    public static readonly string[] DriverNames = ["libcuda.so.1"];
    public static readonly string[] NvrtcNames = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"];
    public static readonly string[] CublasLtNames = ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"];

    /// <summary>The names whose CUDA is not newer than the driver's; all of them when there is no driver.</summary>
    public static string[] UpTo(int? driverMajor, string[] names) =>
        [.. names.Where(name => driverMajor is null || int.Parse(name.Split(".so.")[1].Split('.')[0], CultureInfo.InvariantCulture) <= driverMajor)];

    /// <summary>Candidates for a library of the real CUDA, best first.</summary>
    public static IEnumerable<string> Real(string[] names)
    {
        string[] folders = [.. Wheels(), .. CudaFolders()];
        foreach (string name in names)
        {
            foreach (string folder in folders)
            {
                string path = Path.Combine(folder, name);
                if (File.Exists(path))
                {
                    yield return path;
                }
            }

            yield return name;
        }
    }

    /// <summary>Candidates for a library of the software device.</summary>
    public static IEnumerable<string> Software(string name)
    {
        string? chosen = Environment.GetEnvironmentVariable("ORION_SOFTCUDA");
        if (!string.IsNullOrEmpty(chosen))
        {
            yield return Path.Combine(chosen, name);
            yield break;
        }

        yield return Path.Combine(AppContext.BaseDirectory, name);
        foreach (string root in Roots())
        {
            yield return Path.Combine(root, "build", "native", name);
        }
    }

    /// <summary>ORION_ROOT, then the folders above the program: a build tree finds its own repository.</summary>
    public static IEnumerable<string> Roots()
    {
        string? root = Environment.GetEnvironmentVariable("ORION_ROOT");
        if (!string.IsNullOrEmpty(root))
        {
            yield return root;
        }

        for (string? folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (folder != root && File.Exists(Path.Combine(folder, "OrionNative.sln")))
            {
                yield return folder;
            }
        }
    }

    static IEnumerable<string> Wheels()
    {
        string[] prefixes =
        [
            Environment.GetEnvironmentVariable("VIRTUAL_ENV") ?? "",
            Environment.GetEnvironmentVariable("CONDA_PREFIX") ?? "",
            Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".local"),
            "/usr/local",
            "/usr",
        ];
        foreach (string prefix in prefixes)
        {
            string library = Path.Combine(prefix, "lib");
            if (prefix.Length == 0 || !Directory.Exists(library))
            {
                continue;
            }

            foreach (string python in Directory.EnumerateDirectories(library, "python3*"))
            {
                foreach (string packages in new[] { "site-packages", "dist-packages" })
                {
                    foreach (string wheel in new[] { "cu13", "cuda_nvrtc", "cublas" })
                    {
                        yield return Path.Combine(python, packages, "nvidia", wheel, "lib");
                    }
                }
            }
        }
    }

    static IEnumerable<string> CudaFolders()
    {
        foreach (string variable in new[] { "CUDA_PATH", "CUDA_HOME" })
        {
            string? at = Environment.GetEnvironmentVariable(variable);
            if (!string.IsNullOrEmpty(at))
            {
                yield return Path.Combine(at, "lib64");
                yield return Path.Combine(at, "lib");
            }
        }

        yield return "/usr/local/cuda/lib64";
        yield return "/usr/local/nvidia/lib64";   // where container runtimes put the driver
        foreach (string root in Roots())
        {
            yield return Path.Combine(root, ".local", "usr", "lib", "x86_64-linux-gnu");
        }
    }
}
