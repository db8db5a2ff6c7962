// Host memory that the device copies from and to by itself: the only kind for which an asynchronous copy is one.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>A page-locked array, not initialised.</summary>
sealed unsafe class CudaPageLockedHostMemory<T> : IDisposable
    where T : unmanaged
{
    readonly CudaContext _context;

    public CudaPageLockedHostMemory(CudaContext context, int count)
    {
        _context = context;
        Count = count;
        CudaDriver driver = context.Enter();
        void* pointer;
        driver.Check(driver.cuMemHostAlloc(&pointer, (nuint)Bytes, 0), "cuMemHostAlloc", "bytes", Bytes);
        Pointer = (T*)pointer;
    }

    public int Count { get; }

    public long Bytes => (long)Count * sizeof(T);

    public T* Pointer { get; private set; }

    /// <summary>The memory; dead after Dispose.</summary>
    public Span<T> Span => new(Pointer, Pointer == null ? 0 : Count);

    public void Dispose()
    {
        if (Pointer != null)
        {
            CudaDriver driver = _context.Enter();
            void* pointer = Pointer;
            Pointer = null;
            driver.Check(driver.cuMemFreeHost(pointer), "cuMemFreeHost");
        }
    }
}
