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

    /// <summary>Devices that the libraries see.</summary>
    public static int Count(CudaLibraries libraries)
    {
        int count;
        libraries.Driver.Check(libraries.Driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
        return count;
    }

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

    /// <summary>How often the host has waited for this device.</summary>
    public long HostWaits { get; private set; }

    /// <summary>Counts a wait; whoever blocks calls it.</summary>
    public void CountWait() => HostWaits++;

    /// <summary>Device memory as the engine asks for it, not initialised.</summary>
    /// <exception cref="InsufficientMemoryException">Names the purpose and the bytes asked for and free.</exception>
    public nint Allocate(long bytes, string purpose)
    {
        CudaDriver driver = Enter();
        ulong address;
        int status = driver.cuMemAlloc_v2(&address, (nuint)bytes);
        if (status == CudaDriver.StatusOutOfMemory)
        {
            (long free, long total) = MemoryInfo();
            throw new InsufficientMemoryException(string.Create(
                CultureInfo.InvariantCulture, $"{purpose} needs {bytes / 1e6:F1} MB; {Selector} has {free / 1e6:F1} MB free of {total / 1e6:F1}"));
        }

        driver.Check(status, "cuMemAlloc_v2", "bytes", bytes);
        return (nint)address;
    }

    /// <summary>Returns memory of <see cref="Allocate"/>.</summary>
    public void Free(nint address)
    {
        CudaDriver driver = Enter();
        driver.Check(driver.cuMemFree_v2((ulong)address), "cuMemFree_v2", "address", address);
    }

    /// <summary>Page-locked host memory, not initialised.</summary>
    /// <exception cref="InsufficientMemoryException">The machine would not lock that much.</exception>
    public nint AllocateHost(long bytes, string purpose)
    {
        CudaDriver driver = Enter();
        void* pointer;
        int status = driver.cuMemHostAlloc(&pointer, (nuint)bytes, 0);
        if (status == CudaDriver.StatusOutOfMemory)
        {
            throw new InsufficientMemoryException(string.Create(
                CultureInfo.InvariantCulture, $"{purpose} needs {bytes / 1e6:F1} MB of page-locked host memory; the machine would not give them"));
        }

        driver.Check(status, "cuMemHostAlloc", "bytes", bytes);
        return (nint)pointer;
    }

    /// <summary>Returns memory of <see cref="AllocateHost"/>.</summary>
    public void FreeHost(nint address)
    {
        CudaDriver driver = Enter();
        driver.Check(driver.cuMemFreeHost((void*)address), "cuMemFreeHost", "address", address);
    }

    /// <summary>Every byte becomes 0, in stream order.</summary>
    public void ZeroAsync(nint address, long bytes, CudaStream stream)
    {
        CudaDriver driver = Enter();
        driver.Check(driver.cuMemsetD8Async((ulong)address, 0, (nuint)bytes, stream.Handle), "cuMemsetD8Async", "bytes", bytes);
    }

    /// <summary>Host memory to the device, in stream order; beside the host only from page-locked memory.</summary>
    public void CopyToDeviceAsync(nint source, nint destination, long bytes, CudaStream stream)
    {
        CudaDriver driver = Enter();
        driver.Check(driver.cuMemcpyHtoDAsync_v2((ulong)destination, (void*)source, (nuint)bytes, stream.Handle), "cuMemcpyHtoDAsync_v2", "bytes", bytes);
    }

    /// <summary>The device to page-locked host memory, in stream order.</summary>
    public void CopyToHostAsync(nint source, nint destination, long bytes, CudaStream stream)
    {
        CudaDriver driver = Enter();
        driver.Check(driver.cuMemcpyDtoHAsync_v2((void*)destination, (ulong)source, (nuint)bytes, stream.Handle), "cuMemcpyDtoHAsync_v2", "bytes", bytes);
    }

    /// <summary>Device to device, in stream order.</summary>
    public void CopyAsync(nint source, nint destination, long bytes, CudaStream stream)
    {
        CudaDriver driver = Enter();
        driver.Check(driver.cuMemcpyDtoDAsync_v2((ulong)destination, (ulong)source, (nuint)bytes, stream.Handle), "cuMemcpyDtoDAsync_v2", "bytes", bytes);
    }

    /// <summary>Device to host; done when it returns. Not ordered behind any stream's work.</summary>
    public void CopyToHost(nint source, Span<byte> destination)
    {
        CudaDriver driver = Enter();
        HostWaits++;
        fixed (byte* to = destination)
        {
            driver.Check(driver.cuMemcpyDtoH_v2(to, (ulong)source, (nuint)destination.Length), "cuMemcpyDtoH_v2", "bytes", destination.Length);
        }
    }

    /// <summary>Waits for everything; throws what went wrong since.</summary>
    public void Synchronize()
    {
        HostWaits++;
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
