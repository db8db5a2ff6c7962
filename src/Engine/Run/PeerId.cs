// A peer's name in a run: the 32 bytes of its NodeId (SHA-256 of its certificate's public key), kept as a plain value so
// that the cores compare, order and store it without allocation. Text is base32 (RFC 4648, lower case, no padding).
// Ordering is by bytes: every list of peers that decides something is walked in this order.
using System.Buffers.Binary;

namespace OrionNative.Engine.Run;

readonly record struct PeerId : IComparable<PeerId>
{
    const string Alphabet = "abcdefghijklmnopqrstuvwxyz234567";
    const int ByteCount = 32;

    public static readonly PeerId None;

    readonly ulong _a, _b, _c, _d;

    public PeerId(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length != ByteCount)
            throw new ArgumentException($"a peer id has {ByteCount} bytes, found {bytes.Length}", nameof(bytes));
        _a = BinaryPrimitives.ReadUInt64BigEndian(bytes);
        _b = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
        _c = BinaryPrimitives.ReadUInt64BigEndian(bytes[16..]);
        _d = BinaryPrimitives.ReadUInt64BigEndian(bytes[24..]);
    }

    PeerId(ulong a) => _a = a;

    public bool IsNone => (_a | _b | _c | _d) == 0;

    /// <summary>The first eight letters: enough for people, never for decisions.</summary>
    public string Short => IsNone ? "nobody" : ToString()[..8];

    /// <summary>An id for simulated peers: distinct and ordered as the numbers are.</summary>
    public static PeerId FromNumber(int number) => new((ulong)(uint)(number + 1) << 32);

    public void CopyTo(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt64BigEndian(bytes, _a);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[8..], _b);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[16..], _c);
        BinaryPrimitives.WriteUInt64BigEndian(bytes[24..], _d);
    }

    public int CompareTo(PeerId other)
    {
        int order = _a.CompareTo(other._a);
        if (order == 0)
            order = _b.CompareTo(other._b);
        if (order == 0)
            order = _c.CompareTo(other._c);
        return order == 0 ? _d.CompareTo(other._d) : order;
    }

    public static bool TryParse(ReadOnlySpan<char> text, out PeerId id)
    {
        id = None;
        Span<byte> bytes = stackalloc byte[ByteCount];
        if (text.Length != (ByteCount * 8 + 4) / 5)
            return false;
        int held = 0, bits = 0, count = 0;
        foreach (char letter in text)
        {
            int value = Alphabet.IndexOf(char.ToLowerInvariant(letter));
            if (value < 0)
                return false;
            held = held << 5 | value;
            bits += 5;
            if (bits < 8)
                continue;
            bits -= 8;
            bytes[count++] = (byte)(held >> bits);
            held &= (1 << bits) - 1;
        }
        if (held != 0)
            return false;
        id = new PeerId(bytes);
        return true;
    }

    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[ByteCount];
        CopyTo(bytes);
        Span<char> text = stackalloc char[(ByteCount * 8 + 4) / 5];
        int held = 0, bits = 0, count = 0;
        foreach (byte value in bytes)
        {
            held = held << 8 | value;
            bits += 8;
            while (bits >= 5)
            {
                bits -= 5;
                text[count++] = Alphabet[held >> bits & 31];
            }
            held &= (1 << bits) - 1;
        }
        if (bits > 0)
            text[count] = Alphabet[held << (5 - bits) & 31];
        return new string(text);
    }
}
