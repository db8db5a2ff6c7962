// Initial packets as an attacker writes them: their keys follow from the destination id alone (RFC 9001, 5.2), so anybody can
// send well-sealed packets with any frames inside. Opens a recorded Initial, and seals frames into a new one.
//   secret = HKDF-Extract(salt, dcid);   key, iv, hp = HKDF-Expand-Label(HKDF-Expand-Label(secret, "client in"), …)
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace OrionNative.Net.Tests;

sealed class QuicInitialForge : IDisposable
{
    const int NumberBytes = 4, TagBytes = 16, SampleBytes = 16;

    static readonly byte[] _salt = Convert.FromHexString("38762cf7f55934b34d179ae6a4c80cadccbb7f0a");

    readonly AesGcm _seal;
    readonly Aes _mask;
    readonly byte[] _iv;

    public QuicInitialForge(ReadOnlySpan<byte> destinationId)
    {
        byte[] secret = Expand(HKDF.Extract(HashAlgorithmName.SHA256, destinationId.ToArray(), _salt), "client in", 32);
        _seal = new AesGcm(Expand(secret, "quic key", 16), TagBytes);
        _iv = Expand(secret, "quic iv", 12);
        _mask = Aes.Create();
        _mask.Key = Expand(secret, "quic hp", 16);
    }

    static byte[] Expand(byte[] secret, string label, int bytes)
    {
        byte[] name = Encoding.ASCII.GetBytes("tls13 " + label);
        return HKDF.Expand(HashAlgorithmName.SHA256, secret, bytes, [(byte)(bytes >> 8), (byte)bytes, (byte)name.Length, .. name, 0]);
    }

    /// <summary>The frames inside a client's first Initial that carries no token.</summary>
    public static byte[] Frames(byte[] datagram)
    {
        int idBytes = datagram[5], sourceAt = 6 + idBytes, lengthAt = sourceAt + 1 + datagram[sourceAt] + 1;
        int lengthBytes = 1 << (datagram[lengthAt] >> 6), numberAt = lengthAt + lengthBytes, length = datagram[lengthAt] & 0x3f;
        for (int i = 1; i < lengthBytes; i++) length = length << 8 | datagram[lengthAt + i];
        using var forge = new QuicInitialForge(datagram.AsSpan(6, idBytes));
        byte[] packet = [.. datagram];
        Span<byte> mask = stackalloc byte[SampleBytes];
        forge._mask.EncryptEcb(packet.AsSpan(numberAt + NumberBytes, SampleBytes), mask, PaddingMode.None);
        packet[0] ^= (byte)(mask[0] & 0x0f);
        int numberBytes = (packet[0] & 3) + 1;
        for (int i = 0; i < numberBytes; i++) packet[numberAt + i] ^= mask[1 + i];
        int bodyAt = numberAt + numberBytes, bodyBytes = length - numberBytes - TagBytes;
        byte[] nonce = [.. forge._iv], frames = new byte[bodyBytes];
        for (int i = 0; i < numberBytes; i++) nonce[12 - numberBytes + i] ^= packet[numberAt + i];
        forge._seal.Decrypt(nonce, packet.AsSpan(bodyAt, bodyBytes), packet.AsSpan(bodyAt + bodyBytes, TagBytes), frames, packet.AsSpan(0, bodyAt));
        return frames;
    }

    /// <summary>Gives the transport parameters (extension 57, RFC 9001, 8.2) of the ClientHello in a CRYPTO frame a type that
    /// nobody knows, so that all lengths stay right.</summary>
    public static void RenameTransportParameters(Span<byte> frames)
    {
        if (frames[0] != 6) throw new ArgumentException($"The first frame is of type {frames[0]}; expected CRYPTO (6).");
        int at = 1;
        at += 1 << (frames[at] >> 6); // offset
        at += 1 << (frames[at] >> 6); // length
        at += 4 + 2 + 32; // handshake header, version, random
        at += 1 + frames[at]; // session id
        at += 2 + BinaryPrimitives.ReadUInt16BigEndian(frames[at..]); // cipher suites
        at += 1 + frames[at]; // compression
        int end = at + 2 + BinaryPrimitives.ReadUInt16BigEndian(frames[at..]);
        for (at += 2; at < end; at += 4 + BinaryPrimitives.ReadUInt16BigEndian(frames[(at + 2)..]))
        {
            if (BinaryPrimitives.ReadUInt16BigEndian(frames[at..]) != 57) continue;
            BinaryPrimitives.WriteUInt16BigEndian(frames[at..], 0x7a7a);
            return;
        }
        throw new ArgumentException("The hello has no transport parameters.");
    }

    /// <summary>A client Initial of packet number <paramref name="number"/> with any frames; padded to 1200 bytes.</summary>
    public static byte[] Seal(ReadOnlySpan<byte> destinationId, ReadOnlySpan<byte> sourceId, uint number, ReadOnlySpan<byte> frames)
    {
        using var forge = new QuicInitialForge(destinationId);
        int headerBytes = 1 + 4 + 1 + destinationId.Length + 1 + sourceId.Length + 1 + 2 + NumberBytes;
        int bodyBytes = Math.Max(frames.Length, 1200 - headerBytes - TagBytes);
        var packet = new byte[headerBytes + bodyBytes + TagBytes];
        packet[0] = 0xc0 | (NumberBytes - 1);
        packet[4] = 1;
        packet[5] = (byte)destinationId.Length;
        destinationId.CopyTo(packet.AsSpan(6));
        int sourceAt = 6 + destinationId.Length, numberAt = headerBytes - NumberBytes;
        packet[sourceAt] = (byte)sourceId.Length;
        sourceId.CopyTo(packet.AsSpan(sourceAt + 1));
        BinaryPrimitives.WriteUInt16BigEndian(packet.AsSpan(numberAt - 2), (ushort)(0x4000 | (NumberBytes + bodyBytes + TagBytes)));
        BinaryPrimitives.WriteUInt32BigEndian(packet.AsSpan(numberAt), number);
        var body = new byte[bodyBytes];
        frames.CopyTo(body);
        byte[] nonce = [.. forge._iv];
        for (int i = 0; i < NumberBytes; i++) nonce[12 - NumberBytes + i] ^= packet[numberAt + i];
        forge._seal.Encrypt(nonce, body, packet.AsSpan(headerBytes, bodyBytes), packet.AsSpan(headerBytes + bodyBytes), packet.AsSpan(0, headerBytes));
        Span<byte> mask = stackalloc byte[SampleBytes];
        forge._mask.EncryptEcb(packet.AsSpan(numberAt + 4, SampleBytes), mask, PaddingMode.None);
        packet[0] ^= (byte)(mask[0] & 0x0f);
        for (int i = 0; i < NumberBytes; i++) packet[numberAt + i] ^= mask[1 + i];
        return packet;
    }

    public void Dispose()
    {
        _seal.Dispose();
        _mask.Dispose();
    }
}
