// Who a peer is: NodeId = SHA-256(SubjectPublicKeyInfo of its certificate), 32 bytes.
// Text is base32 (RFC 4648 alphabet in lower case, no padding): 52 characters name a peer exactly, the first 10 (50 bits) are
// shown to people. The certificate's names, dates and issuer mean nothing here; only possession of the key does.
using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace OrionNative.Net.Identity;

/// <summary>SHA-256 of a peer's public key (SubjectPublicKeyInfo, DER).</summary>
public readonly struct NodeId : IEquatable<NodeId>, IComparable<NodeId>
{
    /// <summary>Bytes of a NodeId.</summary>
    public const int Bytes = 32;

    /// <summary>Characters of the full text form.</summary>
    public const int TextLength = 52;

    const int ShortLength = 10;
    const string Alphabet = "abcdefghijklmnopqrstuvwxyz234567";

    // Big-endian words, so that comparing words in order compares bytes in order.
    readonly ulong _0, _1, _2, _3;

    /// <summary>Takes exactly <see cref="Bytes"/> bytes.</summary>
    public NodeId(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length != Bytes) throw new ArgumentException($"A NodeId has {Bytes} bytes; got {bytes.Length}.", nameof(bytes));
        _0 = BinaryPrimitives.ReadUInt64BigEndian(bytes);
        _1 = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
        _2 = BinaryPrimitives.ReadUInt64BigEndian(bytes[16..]);
        _3 = BinaryPrimitives.ReadUInt64BigEndian(bytes[24..]);
    }

    /// <summary>The NodeId of the key in a certificate.</summary>
    public static NodeId Of(X509Certificate2 certificate) => OfPublicKey(certificate.PublicKey.ExportSubjectPublicKeyInfo());

    /// <summary>The NodeId of a SubjectPublicKeyInfo in DER.</summary>
    public static NodeId OfPublicKey(ReadOnlySpan<byte> subjectPublicKeyInfo)
    {
        Span<byte> hash = stackalloc byte[Bytes];
        SHA256.HashData(subjectPublicKeyInfo, hash);
        return new NodeId(hash);
    }

    /// <summary>True for the all-zero value, which names nobody.</summary>
    public bool IsEmpty => (_0 | _1 | _2 | _3) == 0;

    /// <summary>Writes the <see cref="Bytes"/> bytes.</summary>
    public void CopyTo(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, _0);
        BinaryPrimitives.WriteUInt64BigEndian(destination[8..], _1);
        BinaryPrimitives.WriteUInt64BigEndian(destination[16..], _2);
        BinaryPrimitives.WriteUInt64BigEndian(destination[24..], _3);
    }

    /// <summary>The first 10 characters followed by an ellipsis: enough for people and logs, never for a decision.</summary>
    public string Short => string.Concat(ToString().AsSpan(0, ShortLength), "…");

    /// <summary>The exact text form: 52 characters of lower-case base32.</summary>
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Bytes];
        CopyTo(bytes);
        Span<char> text = stackalloc char[TextLength];
        for (int i = 0; i < TextLength; i++) text[i] = Alphabet[FiveBits(bytes, 5 * i)];
        return new string(text);
    }

    static int FiveBits(ReadOnlySpan<byte> bytes, int bit)
    {
        int at = bit >> 3;
        int pair = bytes[at] << 8 | (at + 1 < Bytes ? bytes[at + 1] : 0);
        return pair >> (11 - (bit & 7)) & 31;
    }

    /// <summary>Reads the exact text form, upper or lower case. The four bits past the end must be zero, so that a NodeId has
    /// one text.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out NodeId id)
    {
        id = default;
        if (text is null || text.Length != TextLength) return false;
        Span<byte> bytes = stackalloc byte[Bytes + 1];
        bytes.Clear();
        for (int i = 0; i < TextLength; i++)
        {
            int value = Alphabet.IndexOf(char.ToLowerInvariant(text[i]));
            if (value < 0) return false;
            int at = 5 * i >> 3, shifted = value << (11 - (5 * i & 7));
            bytes[at] |= (byte)(shifted >> 8);
            bytes[at + 1] |= (byte)shifted;
        }
        if (bytes[Bytes] != 0) return false;
        id = new NodeId(bytes[..Bytes]);
        return true;
    }

    /// <inheritdoc/>
    public bool Equals(NodeId other) => _0 == other._0 && _1 == other._1 && _2 == other._2 && _3 == other._3;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is NodeId other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(_0, _3);

    /// <summary>Byte order.</summary>
    public int CompareTo(NodeId other)
    {
        int order = _0.CompareTo(other._0);
        if (order == 0) order = _1.CompareTo(other._1);
        if (order == 0) order = _2.CompareTo(other._2);
        return order != 0 ? order : _3.CompareTo(other._3);
    }

    /// <summary>Same key.</summary>
    public static bool operator ==(NodeId left, NodeId right) => left.Equals(right);

    /// <summary>Different keys.</summary>
    public static bool operator !=(NodeId left, NodeId right) => !left.Equals(right);

    /// <summary>Byte order.</summary>
    public static bool operator <(NodeId left, NodeId right) => left.CompareTo(right) < 0;

    /// <summary>Byte order.</summary>
    public static bool operator <=(NodeId left, NodeId right) => left.CompareTo(right) <= 0;

    /// <summary>Byte order.</summary>
    public static bool operator >(NodeId left, NodeId right) => left.CompareTo(right) > 0;

    /// <summary>Byte order.</summary>
    public static bool operator >=(NodeId left, NodeId right) => left.CompareTo(right) >= 0;
}
