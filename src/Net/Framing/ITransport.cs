// What the two transports (QUIC, TCP with TLS) promise to the messages above them.
// An endpoint is one address, one identity and one loop thread that carries any number of connections. Every call into an
// ITransportUser, and into Admit, comes from that thread, so a user needs no locks of its own for what only they touch.
// A connection lives through:   dialling | admitted -> Opened -> lanes -> Closed     or     dialling -> Closed.
// Closed comes exactly once, last, and after it the transport never reads the source's memory again.
using System.Net;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Framing;

/// <summary>Which transport carries a connection. It is chosen by configuration and never changes silently.</summary>
public enum TransportKind
{
    /// <summary>QUIC over UDP.</summary>
    Quic,

    /// <summary>TLS 1.3 over striped TCP connections.</summary>
    Tcp,
}

/// <summary>What one connection carries: the four lanes out, the four lanes in, and its beginning and end.</summary>
public interface ITransportUser : ILaneSource, ILaneSink
{
    /// <summary>The peer's key is proved and accepted here; lanes flow from now on. The peer may still refuse this side:
    /// then <see cref="Closed"/> follows with <see cref="CloseKind.Refused"/> and no byte was delivered there.</summary>
    void Opened(ITransportConnection connection);

    /// <summary>Nothing more comes and nothing more goes.</summary>
    void Closed(ITransportConnection connection, CloseReason reason);
}

/// <summary>Decides about a peer whose key has been proved (<see cref="ITransportConnection.RemoteNodeId"/>) before any lane
/// opens. Called on the loop thread; must not block.</summary>
public delegate Admission Admit(ITransportConnection connection);

/// <summary>The answer of <see cref="Admit"/>: a user for the connection, or the reason for refusing it. The reason goes to
/// the local log only; the peer learns nothing but that it was refused.</summary>
public readonly record struct Admission(ITransportUser? User, string? Refusal)
{
    /// <summary>Lets the peer in.</summary>
    public static Admission Accept(ITransportUser user) => new(user, null);

    /// <summary>Keeps the peer out.</summary>
    public static Admission Refuse(string reason) => new(null, reason);
}

/// <summary>Why a connection ended, as seen from here.</summary>
public enum CloseKind
{
    /// <summary>This side called <see cref="ITransportConnection.Close"/> or disposed the endpoint.</summary>
    Local,

    /// <summary>The peer closed in good order.</summary>
    Remote,

    /// <summary>Nothing was heard for the idle time.</summary>
    Idle,

    /// <summary>The handshake did not finish in time, or nobody answered.</summary>
    HandshakeTimeout,

    /// <summary>One side did not accept the other's identity.</summary>
    Refused,

    /// <summary>The peer forgot the connection (it restarted, or its host refused the address).</summary>
    Reset,

    /// <summary>The peer broke the transport's or the framing's rules.</summary>
    Protocol,

    /// <summary>Something failed on this side: a socket, memory, a native library.</summary>
    Failed,
}

/// <summary>Why a connection ended; <paramref name="Text"/> is a sentence for the operator of this side.</summary>
public sealed record CloseReason(CloseKind Kind, string Text)
{
    /// <summary>True if dialling again can help without anybody changing anything.</summary>
    public bool IsTransient => Kind is CloseKind.Remote or CloseKind.Idle or CloseKind.HandshakeTimeout or CloseKind.Reset;
}

/// <summary>Counters of one connection. Times in nanoseconds, 0 where not yet measured; bytes as handed to the socket.
/// Lost packets are those with lane bytes that had to be sent again. The values are each exact, but not all of the same
/// instant.</summary>
public readonly record struct TransportStatistics(
    long RttNanoseconds,
    long RttMinNanoseconds,
    long CongestionWindowBytes,
    long InFlightBytes,
    long LostPackets,
    long SentPackets,
    long SentBytes,
    long ReceivedPackets,
    long ReceivedBytes);

/// <summary>A connection to one peer. Members may be used from any thread.</summary>
public interface ITransportConnection
{
    /// <summary>Which transport this is.</summary>
    TransportKind Kind { get; }

    /// <summary>The peer: the expected one while dialling, the proved one after that.</summary>
    NodeId RemoteNodeId { get; }

    /// <summary>Where the peer's datagrams or segments come from now.</summary>
    IPEndPoint RemoteAddress { get; }

    /// <summary>True on the side that dialled.</summary>
    bool IsDialler { get; }

    /// <summary>What has been measured so far.</summary>
    TransportStatistics Statistics { get; }

    /// <summary>Tells the loop that the source may have new bytes. Cheap; calls in quick succession fold into one.</summary>
    void Wake();

    /// <summary>Ends the connection at once; bytes not yet acknowledged may be lost. The text stays on this side.</summary>
    void Close(string reason);
}

/// <summary>One address, one identity, one loop thread. Dispose closes all connections and returns when each user has had its
/// <see cref="ITransportUser.Closed"/>.</summary>
public interface ITransportEndpoint : IDisposable
{
    /// <summary>Which transport this is.</summary>
    TransportKind Kind { get; }

    /// <summary>Who this side is.</summary>
    NodeId LocalNodeId { get; }

    /// <summary>The bound address with its real port.</summary>
    IPEndPoint LocalAddress { get; }

    /// <summary>Starts to connect and returns at once; the outcome is <see cref="ITransportUser.Opened"/> or
    /// <see cref="ITransportUser.Closed"/>. A peer with another NodeId than <paramref name="expected"/> is refused.</summary>
    ITransportConnection Dial(IPEndPoint address, NodeId expected, ITransportUser user);
}

/// <summary>What both transports are configured by.</summary>
public record TransportOptions
{
    /// <summary>Where to listen; port 0 takes a free one.</summary>
    public IPEndPoint Listen { get; init; } = new(IPAddress.IPv6Any, 0);

    /// <summary>Decides about peers that dial this endpoint; null means that nobody may.</summary>
    public Admit? Admit { get; init; }

    /// <summary>A peer that is not heard for this long is given up.</summary>
    public TimeSpan IdleTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>A quiet connection says that it lives this often; must be well below <see cref="IdleTimeout"/>.</summary>
    public TimeSpan KeepAlive { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>From the first datagram or segment to both identities known.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Connections at once, half-open ones included; more are turned away unanswered.</summary>
    public int ConnectionsMax { get; init; } = 1024;

    /// <summary>Connections that one peer may hold to this endpoint: two, because both sides may have dialled at once or an old
    /// one may not be known dead yet. The newest beyond that is refused (<see cref="PeerRegistry"/>).</summary>
    public int ConnectionsPerPeer { get; init; } = 2;

    /// <summary>How often strangers have their sentence in the log.</summary>
    internal TimeSpan StrangersEvery { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Receives one sentence per event worth an operator's eye (opened, closed, refused); null is silence.</summary>
    public Action<string>? Log { get; init; }
}
