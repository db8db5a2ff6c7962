// A device holds memory and executes operations on it. Model code is written once against IDevice and IOps; the CPU, a
// CUDA card and the software CUDA device differ behind them.
namespace OrionNative.Kernels;

/// <summary>A place to compute: memory, operations, and the order in which they happen.</summary>
public interface IDevice : IDeviceSizes, IDisposable
{
    /// <summary>Bytes of memory that the device has for work, used ones included.</summary>
    long MemoryBytes { get; }

    bool IDeviceSizes.IsApart => Transfers.IsApart;

    IScratchSizes IDeviceSizes.Scratch => Ops;

    /// <summary>The operations, executed in the order of the calls.</summary>
    IOps Ops { get; }

    /// <summary>Zeroed memory, aligned to at least 256 bytes. Called while planning, never per step.</summary>
    /// <exception cref="InsufficientMemoryException">Names the purpose and the bytes asked for and free.</exception>
    nint Allocate(long bytes, string purpose);

    /// <summary>Returns memory of <see cref="Allocate"/>.</summary>
    void Free(nint address);

    /// <summary>Host to device; complete when the call returns.</summary>
    void Upload(ReadOnlySpan<byte> source, nint destination);

    /// <summary>Device to host, after all operations called before; complete when the call returns.</summary>
    void Download(nint source, Span<byte> destination);

    /// <summary>Returns when all operations called before are done.</summary>
    void Synchronize();

    /// <summary>Copies of payloads beside the computation.</summary>
    ITransfers Transfers { get; }

    /// <summary>Work made of operations only, which will run many times with the same shapes, addresses and arguments; what changes
    /// between runs lies in the device's memory. On CUDA the first run calls the operations, the second records them into a graph,
    /// and every later one launches that graph.</summary>
    IRecordedWork Record(Action work);
}
