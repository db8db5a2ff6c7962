// The CUDA libraries of this machine, found when first asked for. A machine without them starts as if nothing were
// missing; whoever needs one gets the reason and the fix.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>One family of libraries: NVIDIA's, or the software device's.</summary>
sealed class CudaLibraries
{
    readonly Lazy<(CudaDriver? Library, string Reason)> _driver;
    readonly Lazy<(Nvrtc? Library, string Reason)> _nvrtc;
    readonly Lazy<(CublasLtLibrary? Library, string Reason)> _cublasLt;

    CudaLibraries(bool software)
    {
        IsSoftware = software;
        _driver = new(() => Load(LibrarySearch.DriverNames, "libcuda_soft.so", "install the NVIDIA driver", l => new CudaDriver(l)));
        _nvrtc = new(() => Load(LibrarySearch.NvrtcNames, "libnvrtc_soft.so", "install NVRTC (CUDA 11.2 or later)", l => new Nvrtc(l)));
        _cublasLt = new(() => Load(LibrarySearch.CublasLtNames, "libcublasLt_soft.so", "install cuBLAS (CUDA 11 or later)", l => new CublasLtLibrary(l)));
    }

    /// <summary>NVIDIA's libraries.</summary>
    public static CudaLibraries Real { get; } = new(software: false);

    /// <summary>The software device in native/.</summary>
    public static CudaLibraries Software { get; } = new(software: true);

    public bool IsSoftware { get; }

    /// <exception cref="PlatformNotSupportedException">It is not here; the message says what was tried and the fix.</exception>
    public CudaDriver Driver => _driver.Value.Library ?? throw new PlatformNotSupportedException(_driver.Value.Reason);

    /// <inheritdoc cref="Driver"/>
    public Nvrtc Nvrtc => _nvrtc.Value.Library ?? throw new PlatformNotSupportedException(_nvrtc.Value.Reason);

    /// <inheritdoc cref="Driver"/>
    public CublasLtLibrary CublasLt => _cublasLt.Value.Library ?? throw new PlatformNotSupportedException(_cublasLt.Value.Reason);

    /// <summary>Why kernels cannot run here, or null when they can.</summary>
    public string? NotSupportedReason =>
        _driver.Value.Library is null ? _driver.Value.Reason
        : _nvrtc.Value.Library is null ? _nvrtc.Value.Reason
        : _cublasLt.Value.Library is null ? _cublasLt.Value.Reason
        : null;

    /// <summary>Why nothing can be compiled here, or null when it can; needs no driver.</summary>
    public string? NvrtcNotSupportedReason => _nvrtc.Value.Library is null ? _nvrtc.Value.Reason : null;

    (T? Library, string Reason) Load<T>(string[] realNames, string softwareName, string fix, Func<LoadedLibrary, T> bind)
        where T : class
    {
        IEnumerable<string> candidates = IsSoftware ? LibrarySearch.Software(softwareName) : LibrarySearch.Real(realNames);
        try
        {
            LoadedLibrary? library = LoadedLibrary.TryLoad(candidates, out string tried);
            return library is not null
                ? (bind(library), "")
                : (null, $"{(IsSoftware ? softwareName : realNames[0])} was not found (tried {tried}); fix: "
                    + (IsSoftware ? "cmake -S . -B build/native && cmake --build build/native (needs g++ and cmake)" : fix));
        }
        catch (Exception error) when (error is DllNotFoundException or CudaException)
        {
            return (null, error.Message);
        }
    }
}
