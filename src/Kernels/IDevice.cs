// A device holds memory and executes operations on it. Model code is written once against IDevice and IOps; the CPU, a
// CUDA card and the software CUDA device differ behind them.
namespace OrionNative.Kernels;

/// <summary>A place to compute: memory, operations, and the order in which they happen.</summary>
public interface IDevice : IDisposable
{
    /// <summary>For people: "cpu (AVX-512, 2 threads)", "cuda:0 (NVIDIA H200)".</summary>
    string Name { get; }

    /// <summary>Type of weights and activations in products: Float32 on the CPU, BFloat16 on CUDA. Statistics and gradient
    /// accumulators are Float32 everywhere.</summary>
    ElementType ComputeType { get; }

    /// <summary>Bytes of memory that the device has for work, used ones included.</summary>
    long MemoryBytes { get; }

    /// <summary>Bytes that the operations hold for themselves now, beside what <see cref="Allocate"/> gave: on the CPU the packed
    /// panels of products, there from the start; on CUDA a workspace that grows with the shapes seen.</summary>
    long WorkspaceBytes { get; }

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
