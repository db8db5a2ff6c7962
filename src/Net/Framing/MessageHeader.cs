// What a message says about itself: 112 bytes, little-endian, at fixed offsets.
//   0 magic "ORM1" · 4 version · 5 kind · 6 header bytes (u16) · 8 run (u128) · 24 epoch · 28 step · 32 microbatch · 36 part
//   40 stage (u16) · 42 attempt (u16) · 44 zero (u32) · 48 payload bytes (u64) · 56 tag (u64) · 64 digest (32) · 96 zero (16)
// Invariant: decode accepts exactly what encode writes; a zero that is not zero means a version this side does not know.
using System.Buffers.Binary;

namespace OrionNative.Net.Framing;

/// <summary>What a payload is; it decides the lane.</summary>
public enum MessageKind : byte
{
    /// <summary>dL/dz of a microbatch, going back.</summary>
    CodeGradient = 1,

    /// <summary>z of a microbatch, going forward.</summary>
    Code = 2,

    /// <summary>Weights of a stage, for a peer that joins or differs.</summary>
    Weights = 3,

    /// <summary>A file or a part of one.</summary>
    Checkpoint = 4,

    /// <summary>A partition of a replica's pseudo-gradient, or of the merged one.</summary>
    PseudoGradient = 5,

    /// <summary>Random bytes of a link measurement.</summary>
    Probe = 6,
}

/// <summary>The header of a message. Two messages with equal (epoch, step, microbatch, part, stage, kind, attempt) are one.</summary>
public readonly record struct MessageHeader
{
    /// <summary>Bytes on the wire.</summary>
    public const int Bytes = 112;

    /// <summary>The only version this side speaks. 1 had no End frames.</summary>
    public const byte Version = 2;

    const uint Magic = 0x314D524F;

    /// <summary>The training job; both ends of a link agree on it.</summary>
    public UInt128 Run { get; init; }

    /// <summary>The version of membership and placement that the sender acts on.</summary>
    public uint Epoch { get; init; }

    /// <summary>The inner step; for kinds that belong to a round, its first step.</summary>
    public uint Step { get; init; }

    /// <summary>The microbatch within the step.</summary>
    public uint Microbatch { get; init; }

    /// <summary>Which piece of a larger whole (partition, file part, source replica); 0 where there is one piece.</summary>
    public uint Part { get; init; }

    /// <summary>The stage that is to receive it.</summary>
    public ushort Stage { get; init; }

    /// <summary>The n-th try of this microbatch at this stage.</summary>
    public ushort Attempt { get; init; }

    /// <summary>What the payload is.</summary>
    public MessageKind Kind { get; init; }

    /// <summary>Bytes of the payload.</summary>
    public ulong PayloadBytes { get; init; }

    /// <summary>For the layers above, e.g. wire format and rows; carried, not looked at.</summary>
    public ulong Tag { get; init; }

    /// <summary>BLAKE3 of the payload; left empty, the link computes it while the payload leaves, and sends it behind it.
    /// Empty in Admit then; always there in Deliver.</summary>
    public Digest Digest { get; init; }

    /// <summary>The lane that carries this kind.</summary>
    public Lane Lane => Kind switch
    {
        MessageKind.CodeGradient => Lane.Backward,
        MessageKind.Code => Lane.Forward,
        _ => Lane.Bulk,
    };

    /// <summary>Writes the <see cref="Bytes"/> bytes.</summary>
    public void Encode(Span<byte> wire)
    {
        wire = wire[..Bytes];
        wire.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(wire, Magic);
        wire[4] = Version;
        wire[5] = (byte)Kind;
        BinaryPrimitives.WriteUInt16LittleEndian(wire[6..], Bytes);
        BinaryPrimitives.WriteUInt128LittleEndian(wire[8..], Run);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[24..], Epoch);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[28..], Step);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[32..], Microbatch);
        BinaryPrimitives.WriteUInt32LittleEndian(wire[36..], Part);
        BinaryPrimitives.WriteUInt16LittleEndian(wire[40..], Stage);
        BinaryPrimitives.WriteUInt16LittleEndian(wire[42..], Attempt);
        BinaryPrimitives.WriteUInt64LittleEndian(wire[48..], PayloadBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(wire[56..], Tag);
        Digest.CopyTo(wire[64..]);
    }

    /// <summary>Reads a header, or says in <paramref name="defect"/> what is wrong with it.</summary>
    public static bool TryDecode(ReadOnlySpan<byte> wire, out MessageHeader header, out string? defect)
    {
        header = default;
        defect = Defect(wire);
        if (defect is not null) return false;
        header = new MessageHeader
        {
            Run = BinaryPrimitives.ReadUInt128LittleEndian(wire[8..]),
            Epoch = BinaryPrimitives.ReadUInt32LittleEndian(wire[24..]),
            Step = BinaryPrimitives.ReadUInt32LittleEndian(wire[28..]),
            Microbatch = BinaryPrimitives.ReadUInt32LittleEndian(wire[32..]),
            Part = BinaryPrimitives.ReadUInt32LittleEndian(wire[36..]),
            Stage = BinaryPrimitives.ReadUInt16LittleEndian(wire[40..]),
            Attempt = BinaryPrimitives.ReadUInt16LittleEndian(wire[42..]),
            Kind = (MessageKind)wire[5],
            PayloadBytes = BinaryPrimitives.ReadUInt64LittleEndian(wire[48..]),
            Tag = BinaryPrimitives.ReadUInt64LittleEndian(wire[56..]),
            Digest = new Digest(wire.Slice(64, Digest.Bytes)),
        };
        return true;
    }

    static string? Defect(ReadOnlySpan<byte> wire)
    {
        if (wire.Length < Bytes) return $"a message header has {Bytes} bytes; got {wire.Length}";
        uint magic = BinaryPrimitives.ReadUInt32LittleEndian(wire);
        if (magic != Magic) return $"a message header begins with {Magic:x8}; got {magic:x8}";
        if (wire[4] != Version) return $"message version {wire[4]}; this side knows {Version}";
        ushort bytes = BinaryPrimitives.ReadUInt16LittleEndian(wire[6..]);
        if (bytes != Bytes) return $"a version {Version} header has {Bytes} bytes; it claims {bytes}";
        if (wire[5] is < (byte)MessageKind.CodeGradient or > (byte)MessageKind.Probe) return $"message kind {wire[5]} is unknown";
        if (wire.Slice(44, 4).ContainsAnyExcept((byte)0) || wire.Slice(96, 16).ContainsAnyExcept((byte)0))
            return "bytes of a message header that must be zero are not";
        return null;
    }
}
