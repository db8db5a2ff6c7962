// The CPU as a device: native memory, a thread team, and the operations of CpuOps in Float32.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cpu;

/// <summary>A device that computes on this machine's processor, in single precision.</summary>
public sealed unsafe class CpuDevice : IDevice
{
    readonly CpuOps _ops;

    /// <summary>Creates a device with the given number of threads; 0 takes ORION_THREADS, else the number of processors.</summary>
    public CpuDevice(int threads = 0) : this(threads, VectorPathChoice.FromEnvironment())
    {
    }

    internal CpuDevice(int threads, VectorPath path)
    {
        int count = threads > 0 ? threads : DefaultThreads();
        Name = $"cpu ({path}, {count} threads)";
        _ops = new CpuOps(new ThreadTeam(count), path);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public ElementType ComputeType => ElementType.Float32;

    /// <inheritdoc/>
    public long MemoryBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <inheritdoc/>
    public long WorkspaceBytes => _ops.WorkspaceBytes;

    /// <inheritdoc/>
    public IOps Ops => _ops;

    static int DefaultThreads() =>
        int.TryParse(Environment.GetEnvironmentVariable("ORION_THREADS"), out int threads) && threads > 0
            ? threads
            : Environment.ProcessorCount;

    /// <inheritdoc/>
    public nint Allocate(long bytes, string purpose)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        try
        {
            void* memory = CpuMemory.Allocate(bytes);
            NativeMemory.Clear(memory, (nuint)bytes);
            return (nint)memory;
        }
        catch (OutOfMemoryException)
        {
            throw new InsufficientMemoryException($"{purpose} needs {bytes / 1e6:F1} MB; the machine would not give them");
        }
    }

    /// <inheritdoc/>
    public void Free(nint address) => CpuMemory.Free((void*)address);

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<byte> source, nint destination) => source.CopyTo(new Span<byte>((void*)destination, source.Length));

    /// <inheritdoc/>
    public void Download(nint source, Span<byte> destination) => new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    public void Synchronize()
    {
    }

    /// <inheritdoc/>
    public ITransfers Transfers { get; } = new HostTransfers();

    /// <inheritdoc/>
    public IRecordedWork Record(Action work) => new RepeatedCalls(work);

    /// <inheritdoc/>
    public void Dispose() => _ops.Dispose();

    sealed class RepeatedCalls(Action work) : IRecordedWork
    {
        public void Run() => work();

        public void Dispose()
        {
        }
    }
}
