// Captured work, and its executable form: one launch for all of it.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

sealed unsafe class CudaGraph : IDisposable
{
    readonly CudaContext _context;
    nint _handle;

    internal CudaGraph(CudaContext context, nint handle)
    {
        _context = context;
        _handle = handle;
    }

    /// <summary>Kernels, copies and fills in the graph.</summary>
    public int NodeCount
    {
        get
        {
            CudaDriver driver = _context.Enter();
            nuint count;
            driver.Check(driver.cuGraphGetNodes(_handle, null, &count), "cuGraphGetNodes");
            return (int)count;
        }
    }

    public CudaGraphExecutable Instantiate()
    {
        CudaDriver driver = _context.Enter();
        nint executable;
        driver.Check(driver.cuGraphInstantiateWithFlags(&executable, _handle, 0), "cuGraphInstantiateWithFlags");
        return new CudaGraphExecutable(_context, executable);
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            CudaDriver driver = _context.Enter();
            nint handle = _handle;
            _handle = 0;
            driver.Check(driver.cuGraphDestroy(handle), "cuGraphDestroy");
        }
    }
}

sealed unsafe class CudaGraphExecutable : IDisposable
{
    readonly CudaContext _context;
    nint _handle;

    internal CudaGraphExecutable(CudaContext context, nint handle)
    {
        _context = context;
        _handle = handle;
    }

    public void Launch(CudaStream stream)
    {
        CudaDriver driver = _context.Enter();
        driver.Check(driver.cuGraphLaunch(_handle, stream.Handle), "cuGraphLaunch");
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            CudaDriver driver = _context.Enter();
            nint handle = _handle;
            _handle = 0;
            driver.Check(driver.cuGraphExecDestroy(handle), "cuGraphExecDestroy");
        }
    }
}
