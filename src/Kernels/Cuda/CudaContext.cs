// The primary context of one device: the only kind that cuBLAS and NCCL share. Any thread may use the objects made from
// it; each call makes the context current on its thread first, which costs a comparison when it already is.
using System.Globalization;
using System.Text;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>A device in use. Dispose it last: the software device reports what is still allocated then.</summary>
sealed unsafe class CudaContext : IDisposable
{
    [ThreadStatic]
    static CudaContext? _current;
    readonly nint _handle;
    bool _disposed;

    /// <summary>Retains the primary context of a device.</summary>
    /// <exception cref="PlatformNotSupportedException">The libraries are not on this machine.</exception>
    /// <exception cref="CudaException">No such device.</exception>
    public CudaContext(CudaLibraries libraries, int ordinal)
    {
        Libraries = libraries;
        Driver = libraries.Driver;
        int device, count;
        Driver.Check(Driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
        Driver.Check(Driver.cuDeviceGet(&device, ordinal), "cuDeviceGet", $"ordinal (of {count})", ordinal);
        Ordinal = ordinal;
        nint handle;
        Driver.Check(Driver.cuDevicePrimaryCtxRetain(&handle, device), "cuDevicePrimaryCtxRetain", "device", device);
        _handle = handle;
        byte* name = stackalloc byte[128];
        Driver.Check(Driver.cuDeviceGetName(name, 128, device), "cuDeviceGetName");
        DeviceName = Encoding.UTF8.GetString(System.Runtime.InteropServices.MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name));
        Architecture = (10 * Attribute(CudaDriver.DeviceAttributeComputeMajor)) + Attribute(CudaDriver.DeviceAttributeComputeMinor);
        Multiprocessors = Attribute(CudaDriver.DeviceAttributeMultiprocessors);
        SharedBytesMost = Attribute(CudaDriver.DeviceAttributeSharedBytesOptIn);
    }

    public CudaLibraries Libraries { get; }

    public CudaDriver Driver { get; }

    public int Ordinal { get; }

    /// <summary>The card's own name; the software device says "software".</summary>
    public string DeviceName { get; }

    /// <summary>"cuda:0" or "softcuda:0".</summary>
    public string Selector => $"{(Libraries.IsSoftware ? "softcuda" : "cuda")}:{Ordinal}";

    /// <summary>80 for compute capability 8.0.</summary>
    public int Architecture { get; }

    public int Multiprocessors { get; }

    /// <summary>Dynamic shared memory that one block can have, in bytes.</summary>
    public int SharedBytesMost { get; }

    /// <summary>Opens "cuda:N" or "softcuda:N".</summary>
    /// <exception cref="ArgumentException">Not a selector.</exception>
    public static CudaContext Open(string selector)
    {
        string[] parts = selector.Split(':');
        CudaLibraries? libraries = parts[0] switch
        {
            "cuda" => CudaLibraries.Real,
            "softcuda" => CudaLibraries.Software,
            _ => null,
        };
        int ordinal = 0;
        if (libraries is null || parts.Length > 2
            || (parts.Length == 2 && !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out ordinal)))
        {
            throw new ArgumentException($"'{selector}' is not a CUDA device; write cuda:0 or softcuda:0");
        }

        return new CudaContext(libraries, ordinal);
    }

    public CudaDriver Enter()
    {
        if (_current != this)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            Driver.Check(Driver.cuCtxSetCurrent(_handle), "cuCtxSetCurrent", "device", Ordinal);
            _current = this;
        }

        return Driver;
    }

    public int Attribute(int attribute)
    {
        int value;
        Driver.Check(Driver.cuDeviceGetAttribute(&value, attribute, Ordinal), "cuDeviceGetAttribute", "attribute", attribute);
        return value;
    }

    /// <summary>Waits for everything; throws what went wrong since.</summary>
    public void Synchronize()
    {
        CudaDriver driver = Enter();
        driver.Check(driver.cuCtxSynchronize(), "cuCtxSynchronize", "device", Ordinal);
    }

    /// <summary>Bytes free and in all.</summary>
    public (long FreeBytes, long TotalBytes) MemoryInfo()
    {
        CudaDriver driver = Enter();
        nuint free, total;
        driver.Check(driver.cuMemGetInfo_v2(&free, &total), "cuMemGetInfo_v2");
        return ((long)free, (long)total);
    }

    /// <summary>Ends everything on the device, also a context that a fault made unusable. Objects made before are dead.</summary>
    public void Reset()
    {
        Driver.Check(Driver.cuDevicePrimaryCtxReset_v2(Ordinal), "cuDevicePrimaryCtxReset_v2", "device", Ordinal);
        _current = null;
    }

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (_current == this)
        {
            _current = null;
        }

        Driver.Check(Driver.cuDevicePrimaryCtxRelease_v2(Ordinal), "cuDevicePrimaryCtxRelease_v2", "device", Ordinal);
    }
}
