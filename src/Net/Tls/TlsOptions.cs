// What only the TCP transport is configured by.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tls;

/// <summary>Options of a TCP endpoint (TLS 1.3 over striped connections).</summary>
public sealed record TlsOptions : TransportOptions
{
    /// <summary>Everything at its default.</summary>
    public TlsOptions() { }

    /// <summary>What is common to both transports as given, the rest at its default.</summary>
    public TlsOptions(TransportOptions common) : base(common) { }

    /// <summary>TCP connections of one link: the first for the control lane, the others for payloads. A single one stops at
    /// the kernel's send buffer over the round trip (4 MiB / 60 ms = 70 MB/s), and a loss stops only its own stripe.</summary>
    public int Stripes { get; init; } = 8;

    /// <summary>The same towards this very machine, where more stripes only cost switches between threads.</summary>
    public int StripesOnLoopback { get; init; } = 2;

    /// <summary>The kernel's congestion control for every stripe; where the kernel lacks it, the log says what is used.</summary>
    public string CongestionControl { get; init; } = "bbr";

    /// <summary>Bytes that may wait unsent in the kernel per stripe. More would let bulk data delay what has priority.</summary>
    public int UnsentBytesMax { get; init; } = 128 << 10;

    /// <summary>Handshakes in progress at once; more are closed unanswered.</summary>
    public int HalfOpenMax { get; init; } = 256;

    /// <summary>Handshakes in progress at once from one IPv4 address or IPv6 /64, so that one source cannot keep the others
    /// out: eight links of eight stripes.</summary>
    public int HalfOpenPerSourceMax { get; init; } = 64;
}
