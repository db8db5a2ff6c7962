// What only QUIC is configured by. The defaults are those of the measurements in docs/decisions/0010-quic-through-ngtcp2.md.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Quic;

/// <summary>How a sender finds its rate.</summary>
public enum CongestionControl
{
    /// <summary>BBR v2: models bandwidth and delay, does not take a lost packet for congestion.</summary>
    Bbr = 2,

    /// <summary>CUBIC: halves at a loss; on a 60 ms path 0.01 % loss leaves it a twentieth of the link.</summary>
    Cubic = 1,
}

/// <summary>Options of a QUIC endpoint.</summary>
public sealed record QuicOptions : TransportOptions
{
    /// <summary>Everything at its default.</summary>
    public QuicOptions() { }

    /// <summary>What is common to both transports as given, the rest at its default.</summary>
    public QuicOptions(TransportOptions common) : base(common) { }

    /// <summary>BBR unless there is a reason.</summary>
    public CongestionControl CongestionControl { get; init; } = CongestionControl.Bbr;

    /// <summary>Bytes that the peer may send before this side has taken them, per connection and per lane: 8 times the
    /// product of 1 Gbit/s and 60 ms, so that one lost packet does not stop the rest.</summary>
    public int WindowBytes { get; init; } = 64 << 20;

    /// <summary>With more handshakes than this in progress, a dialler must first prove its address (Retry, one round trip).
    /// 0 asks everybody.</summary>
    public int RetryAboveHalfOpen { get; init; } = 32;

    /// <summary>Handshakes in progress at once; more are dropped unanswered.</summary>
    public int HalfOpenMax { get; init; } = 256;

    /// <summary>Handshakes in progress at once from one IPv4 address or IPv6 /64, counted once Retry is asked for.</summary>
    public int HalfOpenPerSourceMax { get; init; } = 32;

    /// <summary>UDP payload sizes that path MTU discovery tries above 1200 bytes, rising; a size that fails ends the search.
    /// The last three exist on local networks with jumbo frames and on loopback.</summary>
    public IReadOnlyList<int> MtuProbes { get; init; } = [1404, 1452, 1472, 4000, 8932, 65000];

    /// <summary>Dials without showing a certificate; tests see that nobody lets it in.</summary>
    internal bool IsAnonymous { get; init; }

    /// <summary>Use UDP GSO and GRO where the kernel has them.</summary>
    public bool SegmentOffload { get; init; } = true;
}
