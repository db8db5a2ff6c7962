// Wire formats of a code [R,Z]. Float32 for proofs, BFloat16 by default, Int8 with one scale per row for half of that.
// Int8 row: a BFloat16 scale s >= max|z|/127, rounded up, then Z bytes round(z/s); an all-zero row has s = 0.
namespace OrionNative.Kernels;

/// <summary>How a code travels.</summary>
public enum WireFormat : byte
{
    /// <summary>4 bytes an element, bit-exact.</summary>
    Float32 = 0,

    /// <summary>2 bytes an element, round to nearest even.</summary>
    BFloat16 = 1,

    /// <summary>1 byte an element and 2 bytes a row.</summary>
    Int8 = 2,
}

public partial interface IOps
{
    /// <summary>Packs code[R,Z] (compute type) into <see cref="CodeWire.Bytes"/> bytes at destination: host-visible memory, or the device's own.</summary>
    void CodePack(Tensor code, WireFormat format, nint destination);

    /// <summary>The inverse of <see cref="CodePack"/>.</summary>
    void CodeUnpack(nint source, WireFormat format, Tensor code);
}

/// <summary>Sizes of packed codes, and what packing loses.</summary>
public static class CodeWire
{
    /// <summary>True when <see cref="IOps.CodeUnpack"/> does not give back every bit that <see cref="IOps.CodePack"/> took of a code of this type.</summary>
    public static bool Rounds(WireFormat format, ElementType type) =>
        format == WireFormat.Int8 || (format == WireFormat.BFloat16 && type == ElementType.Float32);

    /// <summary>Bytes of a packed code of [rows, width].</summary>
    public static long Bytes(WireFormat format, int rows, int width) => format switch
    {
        WireFormat.Float32 => 4L * rows * width,
        WireFormat.BFloat16 => 2L * rows * width,
        WireFormat.Int8 => (2L + width) * rows,
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };
}
