// A CUDA card, or the software device, as a device of the engine: bf16 weights and activations, fp32 statistics, gradients and
// optimizer state (docs/decisions/0080). One stream computes; two others carry payloads (CudaTransfers). The host queues and does
// not wait: it waits only where it reads a result (Download, Synchronize, a mark), and each such wait is counted.
using System.Globalization;

namespace OrionNative.Kernels.Cuda;

/// <summary>Opens a device and owns everything made on it. For one thread at a time.</summary>
sealed class CudaDevice : IDevice
{
    readonly CudaContext _context;
    readonly CudaStream _compute;
    readonly CudaStaging _staging;
    readonly CudaTransfers _transfers;
    readonly CudaOps _ops;

    /// <param name="selector">cuda:N or softcuda:N.</param>
    /// <exception cref="ArgumentException">Not such a selector.</exception>
    /// <exception cref="PlatformNotSupportedException">The libraries are not on this machine; the message has the fix.</exception>
    /// <exception cref="CudaException">There is no such card.</exception>
    public CudaDevice(string selector)
    {
        _context = CudaContext.Open(selector);
        _compute = new CudaStream(_context);
        _staging = new CudaStaging(_context, _compute);
        _transfers = new CudaTransfers(_context, _compute);
        _ops = new CudaOps(_context, _compute, _staging);
        Name = string.Create(CultureInfo.InvariantCulture, $"{_context.Selector} ({_context.DeviceName})");
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public ElementType ComputeType => ElementType.BFloat16;

    /// <inheritdoc/>
    public long MemoryBytes => _context.MemoryInfo().TotalBytes;

    /// <inheritdoc/>
    public long WorkspaceBytes => _ops.WorkspaceBytes;

    /// <inheritdoc/>
    public IOps Ops => _ops;

    /// <inheritdoc/>
    public ITransfers Transfers => _transfers;

    /// <summary>How often the host has waited for the device: what a step must not do between its microbatches.</summary>
    public long HostWaits => _context.HostWaits;

    /// <summary>Device memory that nobody has, in bytes.</summary>
    public long FreeBytes => _context.MemoryInfo().FreeBytes;

    /// <summary>True while operations are under way.</summary>
    public bool IsComputing => !_compute.IsIdle();

    /// <summary>Launches of recorded graphs so far.</summary>
    public long GraphLaunches { get; private set; }

    /// <inheritdoc/>
    public nint Allocate(long bytes, string purpose)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        nint address = _context.Allocate(Math.Max(bytes, 1), purpose);
        _context.ZeroAsync(address, Math.Max(bytes, 1), _compute);
        return address;
    }

    /// <inheritdoc/>
    public void Free(nint address)
    {
        if (address != 0)
        {
            Synchronize();
            _context.Free(address);
        }
    }

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<byte> source, nint destination) => _staging.Upload(source, destination);

    /// <inheritdoc/>
    public void Download(nint source, Span<byte> destination)
    {
        _compute.Synchronize();
        _context.CopyToHost(source, destination);
    }

    /// <inheritdoc/>
    public void Synchronize()
    {
        _compute.Synchronize();
        _transfers.Synchronize();
    }

    /// <inheritdoc/>
    public IRecordedWork Record(Action work) => new RecordedGraph(this, work);

    /// <inheritdoc/>
    public void Dispose()
    {
        _ops.Dispose();
        _transfers.Dispose();
        _staging.Dispose();
        _compute.Dispose();
        _context.Dispose();
    }

    /// <summary>First run: the calls themselves, which load modules, choose algorithms and grow workspaces. Second: recorded.
    /// Afterwards: one launch.</summary>
    sealed class RecordedGraph(CudaDevice device, Action work) : IRecordedWork
    {
        CudaGraphExecutable? _graph;
        bool _warm;

        public void Run()
        {
            if (!_warm)
            {
                work();
                _warm = true;
                return;
            }

            _graph ??= Capture();
            _graph.Launch(device._compute);
            device.GraphLaunches++;
        }

        CudaGraphExecutable Capture()
        {
            device._ops.HoldWorkspace();
            device._compute.BeginCapture();
            bool recorded = false;
            try
            {
                work();
                recorded = true;
            }
            finally
            {
                if (!recorded)
                {
                    device._compute.AbandonCapture();
                }
            }

            using CudaGraph graph = device._compute.EndCapture();
            return graph.Instantiate();
        }

        public void Dispose()
        {
            if (_graph is not null)
            {
                device.Synchronize();
                _graph.Dispose();
            }
        }
    }
}
