// What the kernel knows of the stripes (struct tcp_info, linux/tcp.h): offsets 68 rtt (us), 80 cwnd (packets), 16 snd_mss,
// 24 unacked (packets), 100 total_retrans, 148 min_rtt (us). Absent fields stay 0.
using System.Buffers.Binary;
using System.Net.Sockets;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tls;

static class TcpInfo
{
    const int TcpLevel = 6, Option = 11, MssAt = 16, UnackedAt = 24, RttAt = 68, WindowAt = 80, RetransmitsAt = 100, RttMinAt = 148;

    public static TransportStatistics Sum(List<TlsStripe> stripes, TransportStatistics last)
    {
        Span<byte> info = stackalloc byte[232];
        long rtt = 0, rttMin = long.MaxValue, window = 0, inFlight = 0, retransmits = 0;
        foreach (TlsStripe stripe in stripes)
        {
            info.Clear();
            try
            {
                _ = stripe.Socket.GetRawSocketOption(TcpLevel, Option, info);
            }
            catch (Exception gone) when (gone is SocketException or ObjectDisposedException)
            {
                return last;
            }
            long mss = At(info, MssAt);
            rtt = Math.Max(rtt, At(info, RttAt) * 1000);
            rttMin = Math.Min(rttMin, At(info, RttMinAt) * 1000);
            window += At(info, WindowAt) * mss;
            inFlight += At(info, UnackedAt) * mss;
            retransmits += At(info, RetransmitsAt);
        }
        return last with
        {
            RttNanoseconds = rtt,
            RttMinNanoseconds = rttMin == long.MaxValue ? 0 : rttMin,
            CongestionWindowBytes = window,
            InFlightBytes = inFlight,
            LostPackets = retransmits,
        };
    }

    static long At(Span<byte> info, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(info[offset..]);
}
