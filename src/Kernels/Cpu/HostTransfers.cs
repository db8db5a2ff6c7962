// Transfers of a device that computes in host memory: payloads are read and written where they lie, and every call is done when it
// returns, so that every mark is reached.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cpu;

/// <summary>Moves nothing.</summary>
sealed unsafe class HostTransfers : ITransfers
{
    const int Alignment = 4096;

    /// <inheritdoc/>
    public nint AllocateHost(long bytes, string purpose)
    {
        nuint whole = (nuint)Math.Max(bytes, Alignment);
        void* memory = NativeMemory.AlignedAlloc(whole, Alignment);
        NativeMemory.Clear(memory, whole);
        return (nint)memory;
    }

    /// <inheritdoc/>
    public void FreeHost(nint address) => NativeMemory.AlignedFree((void*)address);

    /// <inheritdoc/>
    public void LockHost(nint address, long bytes)
    {
    }

    /// <inheritdoc/>
    public void UnlockHost(nint address)
    {
    }

    /// <inheritdoc/>
    public nint Arrive(nint host, long bytes) => host;

    /// <inheritdoc/>
    public nint Departing(nint host, long bytes) => host;

    /// <inheritdoc/>
    public void Depart(nint departing, nint host, long bytes)
    {
        if (departing != host)
        {
            Buffer.MemoryCopy((void*)departing, (void*)host, bytes, bytes);
        }
    }

    /// <inheritdoc/>
    public void Fence()
    {
    }

    /// <inheritdoc/>
    public long Mark() => 0;

    /// <inheritdoc/>
    public bool IsReached(long mark) => true;

    /// <inheritdoc/>
    public void Wait(long mark)
    {
    }

    /// <inheritdoc/>
    public Action? Reached { get; set; }

    /// <inheritdoc/>
    public bool IsApart => false;

    /// <inheritdoc/>
    public IFrames OpenFrames(int count) => throw new NotSupportedException("the CPU computes in host memory: nothing has to move there");
}
