// The bytes between messages. Data lanes carry 16-byte frames, the control lane 32-byte frames with an optional body.
//   data      0 type · 1 zero (7 bytes: u8, u16) .. 4 slot (u32) · 8 value (u64)
//             Begin: value = message id, 112 header bytes follow · Data: value = bytes that follow · Abort: value = message id
//             End: value = message id, the 32 bytes of the digest follow, of a message whose header left it out
//   control   0 type · 1 lane · 2 status (u16) · 4 slot (u32) · 8 id (u64) · 16 value (u64) · 24 body bytes (u32) · 28 zero (u32)
// Invariant: nothing a frame says is believed before it was compared with what this side granted or asked for.
using System.Buffers.Binary;

namespace OrionNative.Net.Framing;

enum DataFrameType : byte { Begin = 1, Data = 2, Abort = 3, End = 4 }

readonly record struct DataFrame(DataFrameType Type, uint Slot, ulong Value)
{
    public const int Bytes = 16;

    /// <summary>What follows a frame of a type and belongs to it; payload is no part of its frame.</summary>
    public static int BodyBytes(DataFrameType type) => type switch
    {
        DataFrameType.Begin => MessageHeader.Bytes,
        DataFrameType.End => Digest.Bytes,
        _ => 0,
    };

    public void Encode(Span<byte> wire)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(wire, (uint)Type);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[4..], Slot);
        BinaryPrimitives.WriteUInt64LittleEndian(wire[8..], Value);
    }

    public static DataFrame Decode(ReadOnlySpan<byte> wire)
    {
        uint type = BinaryPrimitives.ReadUInt32LittleEndian(wire);
        if (type is < (uint)DataFrameType.Begin or > (uint)DataFrameType.End)
            throw new InvalidDataException($"data frame type {type:x8} is unknown");
        return new((DataFrameType)type, BinaryPrimitives.ReadUInt32LittleEndian(wire[4..]), BinaryPrimitives.ReadUInt64LittleEndian(wire[8..]));
    }
}

enum ControlFrameType : byte { Hello = 1, Grant = 2, Answer = 3, Request = 4, Response = 5, Ping = 6, Pong = 7 }

readonly record struct ControlFrame(ControlFrameType Type)
{
    public const int Bytes = 32;

    /// <summary>The largest body of a request or a response.</summary>
    public const int BodyBytesMax = 65536;

    public Lane Lane { get; init; }
    public ushort Status { get; init; }
    public uint Slot { get; init; }
    public ulong Id { get; init; }
    public ulong Value { get; init; }
    public uint BodyBytes { get; init; }

    public void Encode(Span<byte> wire)
    {
        wire[0] = (byte)Type;
        wire[1] = (byte)Lane;
        BinaryPrimitives.WriteUInt16LittleEndian(wire[2..], Status);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[4..], Slot);
        BinaryPrimitives.WriteUInt64LittleEndian(wire[8..], Id);
        BinaryPrimitives.WriteUInt64LittleEndian(wire[16..], Value);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[24..], BodyBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[28..], 0);
    }

    public static ControlFrame Decode(ReadOnlySpan<byte> wire)
    {
        byte type = wire[0], lane = wire[1];
        uint body = BinaryPrimitives.ReadUInt32LittleEndian(wire[24..]);
        if (type is < (byte)ControlFrameType.Hello or > (byte)ControlFrameType.Pong) throw new InvalidDataException($"control frame type {type} is unknown");
        if (lane > (byte)Lane.Bulk) throw new InvalidDataException($"control frame names lane {lane}; there are 0 to {(byte)Lane.Bulk}");
        if (BinaryPrimitives.ReadUInt32LittleEndian(wire[28..]) != 0) throw new InvalidDataException("bytes of a control frame that must be zero are not");
        uint most = (ControlFrameType)type switch
        {
            ControlFrameType.Hello => 16,
            ControlFrameType.Request or ControlFrameType.Response => BodyBytesMax,
            _ => 0,
        };
        if (body > most || (type == (byte)ControlFrameType.Hello && body != 16))
            throw new InvalidDataException($"a {(ControlFrameType)type} frame carries at most {most} bytes; it claims {body}");
        return new((ControlFrameType)type)
        {
            Lane = (Lane)lane,
            Status = BinaryPrimitives.ReadUInt16LittleEndian(wire[2..]),
            Slot = BinaryPrimitives.ReadUInt32LittleEndian(wire[4..]),
            Id = BinaryPrimitives.ReadUInt64LittleEndian(wire[8..]),
            Value = BinaryPrimitives.ReadUInt64LittleEndian(wire[16..]),
            BodyBytes = body,
        };
    }
}
