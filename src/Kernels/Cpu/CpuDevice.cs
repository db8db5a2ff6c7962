// The CPU as a device: native memory, a thread team, and the operations of CpuOps in Float32.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cpu;

/// <summary>A device that computes on this machine's processor, in single precision.</summary>
public sealed unsafe class CpuDevice : IDevice
{
    const int Alignment = 4096;
    readonly ThreadTeam _team;
    readonly VectorPath _path;

    /// <summary>Creates a device with the given number of threads; 0 takes ORION_THREADS, else the number of processors.</summary>
    public CpuDevice(int threads = 0) : this(threads, VectorPathChoice.FromEnvironment())
    {
    }

    internal CpuDevice(int threads, VectorPath path)
    {
        _team = new ThreadTeam(threads > 0 ? threads : DefaultThreads());
        _path = path;
        Ops = (IOps)(object)new CpuOps(_team, path);
    }

    /// <inheritdoc/>
    public string Name => $"cpu ({_path}, {_team.Count} threads)";

    /// <inheritdoc/>
    public ElementType ComputeType => ElementType.Float32;

    /// <inheritdoc/>
    public IOps Ops { get; }

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
            void* memory = NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, Alignment), Alignment);
            NativeMemory.Clear(memory, (nuint)Math.Max(bytes, Alignment));
            return (nint)memory;
        }
        catch (OutOfMemoryException)
        {
            throw new InsufficientMemoryException($"{purpose} needs {bytes / 1e6:F1} MB; the machine would not give them");
        }
    }

    /// <inheritdoc/>
    public void Free(nint address) => NativeMemory.AlignedFree((void*)address);

    /// <inheritdoc/>
    public void Upload(ReadOnlySpan<byte> source, nint destination) => source.CopyTo(new Span<byte>((void*)destination, source.Length));

    /// <inheritdoc/>
    public void Download(nint source, Span<byte> destination) => new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);

    /// <inheritdoc/>
    public void Synchronize()
    {
    }

    /// <inheritdoc/>
    public void Dispose() => _team.Dispose();
}
