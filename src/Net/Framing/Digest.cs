// The BLAKE3 digest of a payload as a value: 32 bytes, compared whole, shown in hexadecimal.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Framing;

/// <summary>BLAKE3 of a payload, 32 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct Digest
{
    /// <summary>Bytes of a digest.</summary>
    public const int Bytes = 32;

    readonly ulong _0, _1, _2, _3;

    /// <summary>Takes exactly <see cref="Bytes"/> bytes.</summary>
    public Digest(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length != Bytes) throw new ArgumentException($"A digest has {Bytes} bytes; got {bytes.Length}.", nameof(bytes));
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        (_0, _1, _2, _3) = (words[0], words[1], words[2], words[3]);
    }

    /// <summary>The digest of <paramref name="bytes"/> bytes at <paramref name="data"/>.</summary>
    public static unsafe Digest Of(byte* data, nuint bytes)
    {
        Span<byte> value = stackalloc byte[Bytes];
        Blake3.Hash(data, bytes, value);
        return new Digest(value);
    }

    /// <summary>True for all zeros, which stands for "not computed yet".</summary>
    public bool IsEmpty => (_0 | _1 | _2 | _3) == 0;

    /// <summary>Writes the <see cref="Bytes"/> bytes.</summary>
    public void CopyTo(Span<byte> destination)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(destination);
        (words[0], words[1], words[2], words[3]) = (_0, _1, _2, _3);
    }

    /// <summary>64 hexadecimal characters.</summary>
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Bytes];
        CopyTo(bytes);
        return Convert.ToHexStringLower(bytes);
    }
}
