// Which connection a datagram belongs to, by its destination connection id. Ids that this endpoint chose are 8 random bytes.
// Until a dialler has heard from us it uses an id of its own choice (8 to 20 bytes), kept in a table of its own.
// The reset token of an id depends on the id and the node's key alone, so a restarted node can end connections that it no
// longer knows (RFC 9000, 10.3).
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using OrionNative.Net.Quic.Interop;
using static OrionNative.Net.Quic.Interop.Ngtcp2;

namespace OrionNative.Net.Quic;

sealed unsafe class ConnectionIds(byte[] resetSecret)
{
    public const int Bytes = 8;

    readonly record struct ForeignId(ulong First, ulong Second, uint Third, int Length);

    readonly Dictionary<ulong, QuicConnection> _own = [];
    readonly Dictionary<ForeignId, QuicConnection> _foreign = [];

    public QuicConnection? Find(byte* id, nuint length)
    {
        if (length == Bytes && _own.TryGetValue(Unsafe.ReadUnaligned<ulong>(id), out var own)) return own;
        return length is >= Bytes and <= 20 && _foreign.TryGetValue(Foreign(id, (int)length), out var foreign) ? foreign : null;
    }

    /// <summary>Fills in a new id that nobody has yet.</summary>
    public void Choose(ngtcp2_cid* id)
    {
        id->datalen = Bytes;
        do RandomNumberGenerator.Fill(new Span<byte>(id->data, Bytes));
        while (_own.ContainsKey(Unsafe.ReadUnaligned<ulong>(id->data)));
    }

    public void Add(ngtcp2_cid* id, QuicConnection connection) => _own[Unsafe.ReadUnaligned<ulong>(id->data)] = connection;

    public void Remove(ngtcp2_cid* id) => _own.Remove(Unsafe.ReadUnaligned<ulong>(id->data));

    public void AddForeign(ngtcp2_cid* id, QuicConnection connection) => _foreign[Foreign(id->data, (int)id->datalen)] = connection;

    /// <summary>Forgets every id of a connection that has ended.</summary>
    public void RemoveAll(QuicConnection connection)
    {
        foreach (var (id, owner) in _own) if (owner == connection) _own.Remove(id);
        foreach (var (id, owner) in _foreign) if (owner == connection) _foreign.Remove(id);
    }

    public void ResetToken(ngtcp2_cid* id, byte* token)
    {
        fixed (byte* secret = resetSecret)
        {
            if (Ngtcp2Crypto.ngtcp2_crypto_generate_stateless_reset_token(token, secret, (nuint)resetSecret.Length, id) != 0)
            {
                throw new InvalidOperationException("ngtcp2 could not derive a stateless reset token.");
            }
        }
    }

    static ForeignId Foreign(byte* id, int length)
    {
        byte* padded = stackalloc byte[20];
        new ReadOnlySpan<byte>(id, length).CopyTo(new Span<byte>(padded, 20));
        return new ForeignId(Unsafe.ReadUnaligned<ulong>(padded), Unsafe.ReadUnaligned<ulong>(padded + 8), Unsafe.ReadUnaligned<uint>(padded + 16), length);
    }
}
