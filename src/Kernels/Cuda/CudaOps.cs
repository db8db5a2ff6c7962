// The CUDA implementation of the op contract; each idea's part lies in its own folder, <Idea>.Cuda.cs. A call checks shapes, queues
// kernels on the compute stream and returns: nothing waits, nothing is allocated after the first call of a shape, and every call can
// be recorded into a graph. Weights and activations are BFloat16; statistics, gradients of weights and optimizer state Float32.
// Kernels read 16 bytes at a time, so rows start at multiples of 8 elements; a shape that does not allow it is refused.
namespace OrionNative.Kernels.Cuda;

/// <summary>Operations on one stream of one context.</summary>
sealed partial class CudaOps : IOps, IDisposable
{
    /// <summary>Elements of a 16-byte access.</summary>
    const int Chunk = 8;

    const int Threads = 256;

    readonly CudaContext _context;
    readonly CudaStream _stream;
    readonly CudaStaging _staging;
    readonly CudaRuntimeCompiler _compiler;
    readonly Dictionary<string, CudaModule> _modules = [];
    readonly List<CudaDeviceVariable<byte>> _heldWorkspaces = [];
    CudaDeviceVariable<byte>? _workspace;
    bool _isWorkspaceHeld;

    public CudaOps(CudaContext context, CudaStream stream, CudaStaging staging)
    {
        (_context, _stream, _staging) = (context, stream, staging);
        _compiler = new CudaRuntimeCompiler(context.Libraries.Nvrtc, CubinCache.Default());
    }

    public long WorkspaceBytes => (_workspace?.Bytes ?? 0) + _heldWorkspaces.Sum(held => held.Bytes);

    /// <summary>A kernel of an embedded source; modules are compiled or found on disk when first asked for.</summary>
    CudaKernel Kernel(string source, string name)
    {
        if (!_modules.TryGetValue(source, out CudaModule? module))
        {
            module = new CudaModule(_context, _compiler.Compile(source, $"sm_{_context.Architecture}"));
            _modules.Add(source, module);
        }

        return module.Kernel(name);
    }

    /// <summary>At least this many bytes of device memory, not cleared, until the next call of any operation.</summary>
    nint Workspace(long bytes)
    {
        if (_workspace is null || _workspace.Bytes < bytes)
        {
            if (_workspace is not null && _isWorkspaceHeld)
            {
                _heldWorkspaces.Add(_workspace);
            }
            else
            {
                _workspace?.Dispose();
            }

            _isWorkspaceHeld = false;
            _workspace = new CudaDeviceVariable<byte>(_context, Math.Max(bytes, 2 * (_workspace?.Bytes ?? 0)));
        }

        return (nint)_workspace.Address;
    }

    /// <summary>A graph is about to name the workspace: should it have to grow later, the old one stays.</summary>
    public void HoldWorkspace() => _isWorkspaceHeld = true;

    static int DivideUp(long count, long size) => checked((int)((count + size - 1) / size));

    static void RequireChunks(Tensor tensor, [System.Runtime.CompilerServices.CallerMemberName] string operation = "") =>
        Shape.Holds(
            tensor.Columns % Chunk == 0 && tensor.Stride % Chunk == 0 && tensor.Address % 16 == 0,
            "rows of a multiple of 8 elements at multiples of 16 bytes", tensor, nameof(tensor), operation);

    public void Dispose()
    {
        _stream.Synchronize();
        _product?.Dispose();
        _workspace?.Dispose();
        _heldWorkspaces.ForEach(held => held.Dispose());
        foreach (CudaModule module in _modules.Values)
        {
            module.Dispose();
        }
    }
}
