// Memory is laid out by running the same layout code twice: once from address 0 to learn the size, once over the real
// allocation. So the plan that is printed and the memory that is used cannot differ, and no tensor is allocated later.
using OrionNative.Kernels;

namespace OrionNative.Engine.Model;

/// <summary>Hands out consecutive tensors of one allocation.</summary>
sealed class Arena(nint start)
{
    // the alignment that devices promise for whole allocations; every tensor starts on one, so kernels may assume it
    const int Alignment = 256;
    long _used;

    /// <summary>Bytes handed out so far, padding included.</summary>
    public long Bytes => _used;

    /// <summary>A contiguous [rows, columns] tensor.</summary>
    public Tensor Take(ElementType type, int rows, int columns)
    {
        Tensor tensor = new(start + (nint)_used, type, rows, columns);
        _used += (tensor.Bytes + Alignment - 1) / Alignment * Alignment;
        return tensor;
    }

    /// <summary>Raw scratch bytes.</summary>
    public nint TakeBytes(long bytes)
    {
        nint address = start + (nint)_used;
        _used += (bytes + Alignment - 1) / Alignment * Alignment;
        return address;
    }

    /// <summary>Bytes that a layout needs.</summary>
    public static long Measure(Action<Arena> lay)
    {
        Arena dry = new(0);
        lay(dry);
        return dry.Bytes;
    }

    /// <summary>Allocates what a layout needs and lays it out there; the caller frees the address.</summary>
    /// <exception cref="InsufficientMemoryException">The device cannot give that much; the message names the purpose.</exception>
    public static nint Allocate(IDevice device, string purpose, Action<Arena> lay)
    {
        nint address = device.Allocate(Measure(lay), purpose);
        lay(new Arena(address));
        return address;
    }
}
