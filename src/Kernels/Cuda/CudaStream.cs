// A queue of work on a device. Streams here never wait for the legacy stream: order between them comes from events only.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

sealed unsafe class CudaStream : IDisposable
{
    readonly CudaContext _context;
    nint _handle;

    public CudaStream(CudaContext context)
    {
        _context = context;
        CudaDriver driver = context.Enter();
        nint handle;
        driver.Check(driver.cuStreamCreateWithPriority(&handle, CudaDriver.StreamNonBlocking, 0), "cuStreamCreateWithPriority");
        _handle = handle;
    }

    public CudaContext Context => _context;

    public nint Handle => _handle;

    /// <summary>Waits until the stream is empty; throws what went wrong on the device since.</summary>
    public void Synchronize()
    {
        CudaDriver driver = _context.Enter();
        _context.CountWait();
        driver.Check(driver.cuStreamSynchronize(_handle), "cuStreamSynchronize");
    }

    /// <summary>True when the stream has no work left.</summary>
    public bool IsIdle()
    {
        CudaDriver driver = _context.Enter();
        int status = driver.cuStreamQuery(_handle);
        if (status != CudaDriver.StatusNotReady)
        {
            driver.Check(status, "cuStreamQuery");
        }

        return status == 0;
    }

    /// <summary>What is queued from now on waits for the event's last record.</summary>
    public void WaitEvent(CudaEvent reached)
    {
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuStreamWaitEvent(_handle, reached.Handle, 0), "cuStreamWaitEvent");
    }

    /// <summary>From here to <see cref="EndCapture"/> work is recorded, not run.</summary>
    public void BeginCapture()
    {
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuStreamBeginCapture_v2(_handle, CudaDriver.CaptureModeThreadLocal), "cuStreamBeginCapture_v2");
    }

    /// <summary>Ends a recording that failed, so that the stream can be used again; what was recorded is dropped.</summary>
    public void AbandonCapture()
    {
        CudaDriver driver = _context.Enter();
        nint graph;
        if (driver.cuStreamEndCapture(_handle, &graph) == 0)
        {
            driver.Check(driver.cuGraphDestroy(graph), "cuGraphDestroy");
        }
    }

    public CudaGraph EndCapture()
    {
        CudaDriver driver = _context.Enter();
        nint graph;
        driver.Check(driver.cuStreamEndCapture(_handle, &graph), "cuStreamEndCapture");
        return new CudaGraph(_context, graph);
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            CudaDriver driver = _context.Enter();
            nint handle = _handle;
            _handle = 0;
            driver.Check(driver.cuStreamDestroy_v2(handle), "cuStreamDestroy_v2");
        }
    }
}
