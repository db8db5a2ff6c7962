// Device memory of a fixed number of elements.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>An array in device memory, not initialised. Copies without a stream are complete when they return.</summary>
sealed unsafe class CudaDeviceVariable<T> : IDisposable
    where T : unmanaged
{
    readonly CudaContext _context;

    /// <exception cref="CudaException">Out of memory: the message names the bytes.</exception>
    public CudaDeviceVariable(CudaContext context, long count)
    {
        _context = context;
        Count = count;
        CudaDriver driver = context.Enter();
        ulong address;
        driver.Check(driver.cuMemAlloc_v2(&address, (nuint)Bytes), "cuMemAlloc_v2", "bytes", Bytes);
        Address = address;
    }

    public long Count { get; }

    public long Bytes => Count * sizeof(T);

    /// <summary>The CUdeviceptr; 0 after Dispose.</summary>
    public ulong Address { get; private set; }

    public void CopyFrom(ReadOnlySpan<T> source)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(source.Length, Count);
        CudaDriver driver = _context.Enter();
        fixed (T* from = source)
        {
            nuint bytes = (nuint)source.Length * (nuint)sizeof(T);
            driver.Check(driver.cuMemcpyHtoD_v2(Address, from, bytes), "cuMemcpyHtoD_v2", "bytes", (long)bytes);
        }

        // from memory that is not page-locked the call may return before the bytes have landed, and streams here do not wait for it
        driver.Check(driver.cuStreamSynchronize(0), "cuStreamSynchronize", "legacy stream after bytes", Bytes);
    }

    public void CopyTo(Span<T> destination)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(destination.Length, Count);
        CudaDriver driver = _context.Enter();
        fixed (T* to = destination)
        {
            nuint bytes = (nuint)destination.Length * (nuint)sizeof(T);
            driver.Check(driver.cuMemcpyDtoH_v2(to, Address, bytes), "cuMemcpyDtoH_v2", "bytes", (long)bytes);
        }
    }

    public void CopyFromAsync(CudaPageLockedHostMemory<T> source, CudaStream stream)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(source.Count, Count);
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuMemcpyHtoDAsync_v2(Address, source.Pointer, (nuint)source.Bytes, stream.Handle), "cuMemcpyHtoDAsync_v2", "bytes", source.Bytes);
    }

    public void CopyToAsync(CudaPageLockedHostMemory<T> destination, CudaStream stream)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(destination.Count, Count);
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuMemcpyDtoHAsync_v2(destination.Pointer, Address, (nuint)destination.Bytes, stream.Handle), "cuMemcpyDtoHAsync_v2", "bytes", destination.Bytes);
    }

    /// <summary>Device to device, in stream order.</summary>
    public void CopyFromAsync(CudaDeviceVariable<T> source, CudaStream stream)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(source.Count, Count);
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuMemcpyDtoDAsync_v2(Address, source.Address, (nuint)source.Bytes, stream.Handle), "cuMemcpyDtoDAsync_v2", "bytes", source.Bytes);
    }

    /// <summary>Every byte becomes 0, in stream order.</summary>
    public void ZeroAsync(CudaStream stream)
    {
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuMemsetD8Async(Address, 0, (nuint)Bytes, stream.Handle), "cuMemsetD8Async", "bytes", Bytes);
    }

    public void Dispose()
    {
        if (Address != 0)
        {
            CudaDriver driver = _context.Enter();
            ulong address = Address;
            Address = 0;
            driver.Check(driver.cuMemFree_v2(address), "cuMemFree_v2", "address", (long)address);
        }
    }
}
