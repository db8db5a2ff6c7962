// A point in a stream's work: something to wait for, and with timing a clock on the device.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

sealed unsafe class CudaEvent : IDisposable
{
    readonly CudaContext _context;
    nint _handle;

    public CudaEvent(CudaContext context, bool timing)
    {
        _context = context;
        CudaDriver driver = context.Enter();
        nint handle;
        driver.Check(driver.cuEventCreate(&handle, timing ? 0 : CudaDriver.EventDisableTiming), "cuEventCreate");
        _handle = handle;
    }

    public nint Handle => _handle;

    public void Record(CudaStream stream)
    {
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuEventRecord(_handle, stream.Handle), "cuEventRecord");
    }

    public void Synchronize()
    {
        CudaDriver driver = _context.Enter();
        _context.CountWait();
        driver.Check(driver.cuEventSynchronize(_handle), "cuEventSynchronize");
    }

    /// <summary>True when the last record was reached.</summary>
    public bool IsReached()
    {
        CudaDriver driver = _context.Enter();
        int status = driver.cuEventQuery(_handle);
        if (status != CudaDriver.StatusNotReady)
        {
            driver.Check(status, "cuEventQuery");
        }

        return status == 0;
    }

    /// <summary>Milliseconds of device time from <paramref name="start"/> to this event; both were reached.</summary>
    public float MillisecondsSince(CudaEvent start)
    {
        CudaDriver driver = _context.Enter();
        float milliseconds;
        driver.Check(driver.cuEventElapsedTime(&milliseconds, start._handle, _handle), "cuEventElapsedTime");
        return milliseconds;
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            CudaDriver driver = _context.Enter();
            nint handle = _handle;
            _handle = 0;
            driver.Check(driver.cuEventDestroy_v2(handle), "cuEventDestroy_v2");
        }
    }
}
