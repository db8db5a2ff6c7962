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
        _driver = new(() => Load(LibrarySearch.DriverNames, "libcuda_soft.so", "install the NVIDIA driver (Debian: apt-get install nvidia-driver, from non-free) and restart", l => new CudaDriver(l)));
        _nvrtc = new(() => Load(LibrarySearch.UpTo(DriverMajor, LibrarySearch.NvrtcNames), "libnvrtc_soft.so", "install NVRTC (CUDA 11.2 or later): run `./orion kernels list`, which fetches it, or pip install nvidia-cuda-nvrtc-cu12", l => new Nvrtc(l)));
        _cublasLt = new(() => Load(LibrarySearch.UpTo(DriverMajor, LibrarySearch.CublasLtNames), "libcublasLt_soft.so", "install cuBLAS (CUDA 11 or later): apt-get install libcublaslt11 (Debian, non-free), or pip install nvidia-cublas-cu12", l => new CublasLtLibrary(l)));
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

    // A driver loads what its own CUDA or an earlier one made: code of NVRTC 13 and cuBLAS 13 need a driver for CUDA 13. Without a driver
    // anything may compile.
    int? DriverMajor => _driver.Value.Library?.Version.Major;

    (T? Library, string Reason) Load<T>(string[] realNames, string softwareName, string fix, Func<LoadedLibrary, T> bind)
        where T : class
    {
        IEnumerable<string> candidates = IsSoftware ? LibrarySearch.Software(softwareName) : LibrarySearch.Real(realNames);
        try
        {
            LoadedLibrary? library = LoadedLibrary.TryLoad(candidates, out string tried);
            return library is not null
                ? (bind(library), "")
                : (null, $"{(IsSoftware ? softwareName : realNames[0])} was not found (tried {tried}{NewestThatFits(realNames)}); fix: "
                    + (IsSoftware ? "cmake -S . -B build/native && cmake --build build/native (needs g++ and cmake)" : fix));
        }
        catch (DllNotFoundException error)
        {
            return (null, error.Message);
        }
        catch (CudaException error)
        {
            return (null, $"{error.Message}; fix: {FixOf(error.Status)}");
        }
    }

    string NewestThatFits(string[] names) => !IsSoftware && names != LibrarySearch.DriverNames && DriverMajor is { } major ? $", as the driver is for CUDA {major}" : "";

    /// <summary>What to do when the driver's library is here and does not start. Statuses and causes: cuda.h, CUresult.</summary>
    public static string FixOf(int status) => status switch
    {
        CudaDriver.StatusStubLibrary => "this is the toolkit's stub, which only serves to link: take the folder 'stubs' out of LD_LIBRARY_PATH and install the NVIDIA driver",
        CudaDriver.StatusDeviceUnavailable => "another process has the card for itself: end it, or set the compute mode to default with `nvidia-smi -c 0`",
        CudaDriver.StatusNoDevice => "`nvidia-smi` must list the card: load the driver's kernel module (modprobe nvidia), give the container the card (docker run --gpus all), and let CUDA_VISIBLE_DEVICES name it",
        CudaDriver.StatusSystemNotReady => "the card's NVSwitch fabric is not up: start the service nvidia-fabricmanager in the driver's own version",
        CudaDriver.StatusDriverMismatch => "libcuda and the loaded kernel module are of two versions: restart the machine after a driver update, and in a container take away libcuda's copy in the image",
        CudaDriver.StatusCompatNotSupported => "libcuda is of CUDA's forward-compatibility package, which this card does not allow: take its folder (cuda-compat) out of LD_LIBRARY_PATH",
        _ => "see `nvidia-smi` and `dmesg | grep -i nvrm`, then restart the machine or the container",
    };
}
