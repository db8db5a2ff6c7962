// Frames inside one stripe: 16 bytes, little-endian, then the body of Data.
//   0 type · 1 lane · 2 status (u16) · 4 body bytes (u32) · 8 value (u64)
//   Data: value = offset of the body in its lane · Ack: value = bytes of the lane delivered in order
//   Alive: nothing · Bye: status = why; nothing follows
// A stripe begins with a preface of 32 bytes from the dialler:
//   0 "ORMSTRP" · 7 version · 8 connection (u128, random) · 24 index · 25 count · 26 zero (6 bytes)
using System.Buffers.Binary;

namespace OrionNative.Net.Tls;

enum TlsFrameType : byte { Data = 1, Ack = 2, Alive = 3, Bye = 4 }

enum ByeStatus : ushort { Done = 0, Refused = 1, Violation = 2 }

readonly record struct TlsFrame(TlsFrameType Type, byte Lane, ushort Status, int BodyBytes, ulong Value)
{
    public const int Bytes = 16;

    /// <summary>Body bytes of one Data frame at most.</summary>
    public const int BodyBytesMax = (1 << 16) - Bytes;

    public void Encode(Span<byte> wire)
    {
        wire[0] = (byte)Type;
        wire[1] = Lane;
        BinaryPrimitives.WriteUInt16LittleEndian(wire[2..], Status);
        BinaryPrimitives.WriteInt32LittleEndian(wire[4..], BodyBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(wire[8..], Value);
    }

    public static TlsFrame Decode(ReadOnlySpan<byte> wire)
    {
        var frame = new TlsFrame((TlsFrameType)wire[0], wire[1], BinaryPrimitives.ReadUInt16LittleEndian(wire[2..]),
            BinaryPrimitives.ReadInt32LittleEndian(wire[4..]), BinaryPrimitives.ReadUInt64LittleEndian(wire[8..]));
        if (frame.Type is < TlsFrameType.Data or > TlsFrameType.Bye) throw new InvalidDataException($"stripe frame type {wire[0]} is unknown");
        if (frame.Lane > 3) throw new InvalidDataException($"a stripe frame names lane {frame.Lane}; there are 0 to 3");
        int most = frame.Type == TlsFrameType.Data ? BodyBytesMax : 0, least = frame.Type == TlsFrameType.Data ? 1 : 0;
        if (frame.BodyBytes < least || frame.BodyBytes > most)
            throw new InvalidDataException($"a {frame.Type} frame carries {least} to {most} bytes; it claims {frame.BodyBytes}");
        return frame;
    }
}

readonly record struct StripePreface(UInt128 Connection, int Index, int Count)
{
    public const int Bytes = 32;

    /// <summary>Stripes of one connection at most.</summary>
    public const int CountMax = 64;

    static ReadOnlySpan<byte> Magic => "ORMSTRP\u0001"u8;

    public void Encode(Span<byte> wire)
    {
        wire[..Bytes].Clear();
        Magic.CopyTo(wire);
        BinaryPrimitives.WriteUInt128LittleEndian(wire[8..], Connection);
        wire[24] = (byte)Index;
        wire[25] = (byte)Count;
    }

    public static StripePreface Decode(ReadOnlySpan<byte> wire)
    {
        if (!wire[..8].SequenceEqual(Magic)) throw new InvalidDataException("a stripe begins with something else than its preface");
        var preface = new StripePreface(BinaryPrimitives.ReadUInt128LittleEndian(wire[8..]), wire[24], wire[25]);
        if (preface.Count is < 1 or > CountMax || preface.Index >= preface.Count || wire[26..32].ContainsAnyExcept((byte)0))
            throw new InvalidDataException($"a stripe says that it is number {preface.Index} of {preface.Count}; at most {CountMax} are allowed");
        return preface;
    }
}
