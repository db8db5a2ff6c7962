// A loaded cubin and its kernels by name.
using System.Text;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

sealed unsafe class CudaModule : IDisposable
{
    readonly CudaContext _context;
    nint _handle;

    public CudaModule(CudaContext context, CompiledKernels compiled)
    {
        _context = context;
        CudaDriver driver = context.Enter();
        nint handle;
        fixed (byte* image = compiled.Image)
        {
            driver.Check(driver.cuModuleLoadData(&handle, image), $"cuModuleLoadData {compiled.Name}", "bytes", compiled.Image.Length);
        }

        _handle = handle;
    }

    /// <exception cref="CudaException">The module has no such kernel.</exception>
    public CudaKernel Kernel(string name)
    {
        CudaDriver driver = _context.Enter();
        nint function;
        fixed (byte* text = Encoding.UTF8.GetBytes(name + "\0"))
        {
            driver.Check(driver.cuModuleGetFunction(&function, _handle, text), $"cuModuleGetFunction {name}");
        }

        return new CudaKernel(_context, name, function);
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            CudaDriver driver = _context.Enter();
            nint handle = _handle;
            _handle = 0;
            driver.Check(driver.cuModuleUnload(handle), "cuModuleUnload");
        }
    }
}
