// A sockaddr_in or sockaddr_in6 by value, as the kernel and ngtcp2 read it. A socket bound to IPv6 also carries IPv4, as
// mapped addresses (::ffff:a.b.c.d); people see them unmapped. Equality is over the bytes that name a peer.
using System.Buffers.Binary;
using System.Net;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Quic;

unsafe struct SocketAddress
{
    public const int BytesMax = 28;
    const int V4Bytes = 16;

    public fixed byte Data[BytesMax];
    public uint Length;

    public readonly int Family => Data[0] | Data[1] << 8;

    /// <summary>True if a socket of a family reaches an address.</summary>
    public static bool Carries(int family, IPEndPoint endPoint) => family == Libc.AF_INET6 || FamilyOf(endPoint) == Libc.AF_INET;

    public static int FamilyOf(IPEndPoint endPoint) =>
        endPoint.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? Libc.AF_INET6 : Libc.AF_INET;

    public static SocketAddress Of(IPEndPoint endPoint) => Of(endPoint, FamilyOf(endPoint));

    /// <summary>As a socket of a family that <see cref="Carries"/> it knows the address.</summary>
    public static SocketAddress Of(IPEndPoint endPoint, int family)
    {
        var address = endPoint.Address;
        if (family == Libc.AF_INET6 && address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork)
        {
            address = address.Equals(IPAddress.Any) ? IPAddress.IPv6Any : address.MapToIPv6();
        }
        bool v6 = address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6;
        if (v6 != (family == Libc.AF_INET6)) throw new ArgumentException($"A socket for IPv4 cannot carry {endPoint}.", nameof(endPoint));
        SocketAddress result = default;
        var data = new Span<byte>(result.Data, BytesMax);
        data[0] = (byte)family;
        BinaryPrimitives.WriteUInt16BigEndian(data[2..], (ushort)endPoint.Port);
        address.TryWriteBytes(v6 ? data[8..] : data[4..], out _);
        if (v6) BinaryPrimitives.WriteUInt32LittleEndian(data[24..], (uint)address.ScopeId);
        result.Length = v6 ? (uint)BytesMax : V4Bytes;
        return result;
    }

    public readonly IPEndPoint ToEndPoint()
    {
        fixed (byte* p = Data)
        {
            var data = new ReadOnlySpan<byte>(p, BytesMax);
            int port = BinaryPrimitives.ReadUInt16BigEndian(data[2..]);
            if (Family != Libc.AF_INET6) return new IPEndPoint(new IPAddress(data.Slice(4, 4)), port);
            var address = new IPAddress(data.Slice(8, 16), BinaryPrimitives.ReadUInt32LittleEndian(data[24..]));
            return new IPEndPoint(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address, port);
        }
    }

    public readonly bool SameAs(in SocketAddress other)
    {
        fixed (byte* a = Data, b = other.Data) return new ReadOnlySpan<byte>(a, (int)Length).SequenceEqual(new ReadOnlySpan<byte>(b, (int)other.Length));
    }

    /// <summary>What one customer of a provider holds: an IPv4 address, or the /64 of an IPv6 one. Limits per source count
    /// these, because a /64 is free to anybody who has one address of it.</summary>
    public readonly UInt128 Source
    {
        get
        {
            fixed (byte* p = Data)
            {
                var data = new ReadOnlySpan<byte>(p, BytesMax);
                // as an IPv6 address, IPv4 mapped into it; mapped ones and ::1 have an empty network part and count whole
                if (Family != Libc.AF_INET6) return 0xffff_0000_0000 | (UInt128)BinaryPrimitives.ReadUInt32BigEndian(data[4..]);
                UInt128 address = BinaryPrimitives.ReadUInt128BigEndian(data[8..]);
                return address >> 64 == 0 ? address : address >> 64 << 64;
            }
        }
    }
}
