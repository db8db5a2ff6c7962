// Which vector width the CPU kernels use. Chosen once at start from what the processor has; ORION_VECTOR=128|256|512
// forces a narrower path (tests run every op on each), and asking for a wider one than the processor has is an error.
using System.Runtime.Intrinsics;

namespace OrionNative.Kernels.Cpu;

/// <summary>A vector width in bits.</summary>
enum VectorPath
{
    Vector128 = 128,
    Vector256 = 256,
    Vector512 = 512,
}

static class VectorPathChoice
{
    /// <summary>The widest path that this processor runs in hardware.</summary>
    public static VectorPath Widest =>
        Vector512.IsHardwareAccelerated ? VectorPath.Vector512
        : Vector256.IsHardwareAccelerated ? VectorPath.Vector256
        : VectorPath.Vector128;

    /// <summary>The path from ORION_VECTOR, else the widest.</summary>
    public static VectorPath FromEnvironment()
    {
        string? asked = Environment.GetEnvironmentVariable("ORION_VECTOR");
        if (string.IsNullOrEmpty(asked))
        {
            return Widest;
        }

        if (!int.TryParse(asked, out int bits) || bits is not (128 or 256 or 512))
        {
            throw new ArgumentException($"ORION_VECTOR is '{asked}'; it can be 128, 256 or 512");
        }

        return bits <= (int)Widest
            ? (VectorPath)bits
            : throw new ArgumentException($"ORION_VECTOR is {bits}, but this processor's widest path is {(int)Widest}");
    }
}
