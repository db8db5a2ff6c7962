// One QUIC connection: ngtcp2's state machine between a loop's datagrams and a user's lanes. This file is its life, from the
// handshake to the reason it ended; QuicConnection.Lanes.cs is what it carries.
//   handshaking -> open -> finished       handshaking -> finished
// Everything but Wake, Close, Statistics and RemoteAddress runs on the endpoint's loop thread. ngtcp2 callbacks only note
// what happened; the connection is taken down by the loop, never from inside a callback.
using System.Net;
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic.Interop;
using static OrionNative.Net.Quic.Interop.Ngtcp2;

namespace OrionNative.Net.Quic;

sealed unsafe partial class QuicConnection : ITransportConnection
{
    // What a closed connection tells its peer: enough to say whose turn it is, nothing that helps an attacker.
    const ulong CodeDone = 0, CodeRefused = 1, CodeProtocol = 2, CodeFailed = 3;

    // A translator that has dropped the old port refuses too, until the peer's next datagram comes through its new one.
    const ulong RefusalsApart = 150_000_000;

    readonly QuicEndpoint _endpoint;
    readonly Ngtcp2Crypto.ngtcp2_crypto_conn_ref* _reference;
    readonly GCHandle _self;
    nint _tls;
    ITransportUser? _user;
    CloseReason? _failure;
    ulong _failureCode;
    int _status;
    string? _closeRequest;
    bool _isOpen, _isEntered, _statelessReset;
    int _sendError;
    ulong _refusedAt;
    SocketAddress _remote;
    IPEndPoint _remoteAddress;

    public QuicConnection(QuicEndpoint endpoint, bool isDialler, in SocketAddress remote, NodeId expected, ITransportUser? user)
    {
        _endpoint = endpoint;
        IsDialler = isDialler;
        RemoteNodeId = expected;
        _user = user;
        _remote = remote;
        _remoteAddress = remote.ToEndPoint();
        _self = GCHandle.Alloc(this);
        _reference = (Ngtcp2Crypto.ngtcp2_crypto_conn_ref*)NativeMemory.AllocZeroed((nuint)sizeof(Ngtcp2Crypto.ngtcp2_crypto_conn_ref));
        _reference->get_conn = QuicCallbacks.GetConnection;
        _reference->user_data = (void*)GCHandle.ToIntPtr(_self);
    }

    public TransportKind Kind => TransportKind.Quic;

    public NodeId RemoteNodeId { get; private set; }

    public IPEndPoint RemoteAddress => Volatile.Read(ref _remoteAddress);

    public bool IsDialler { get; }

    /// <summary>ngtcp2's handle; 0 before <see cref="Start"/> and when finished.</summary>
    public nint Native { get; private set; }

    /// <summary>user_data for ngtcp2: the GC handle of this object.</summary>
    public void* UserData => _reference->user_data;

    public bool IsHandshaking => !_isOpen;

    /// <summary>The dialler's address as limits per source count it.</summary>
    public UInt128 Source => _remote.Source;

    public SocketAddress Remote => _remote;

    public bool IsAt(in SocketAddress peer) => _remote.SameAs(peer);

    /// <summary>When this connection next needs the loop, in the loop's nanoseconds.</summary>
    public ulong Expiry { get; private set; } = ulong.MaxValue;

    /// <summary>Something happened since the last <see cref="Send"/>.</summary>
    public bool IsDirty { get; set; } = true;

    /// <summary>When the peer was last heard.</summary>
    public ulong HeardAt { get; private set; }

    /// <summary>Takes over what ngtcp2 made for this object, and gives it a TLS session.</summary>
    public void Start(nint native, in SocketAddress remote, ulong now)
    {
        Native = native;
        _remote = remote;
        HeardAt = now;
        _tls = _endpoint.Tls.NewSession(server: !IsDialler, _reference);
        ngtcp2_conn_set_tls_native_handle(native, _tls);
        ngtcp2_conn_set_keep_alive_timeout(native, Nanoseconds(_endpoint.Options.KeepAlive));
        Expiry = ngtcp2_conn_get_expiry(native);
    }

    public static ulong Nanoseconds(TimeSpan time) => (ulong)time.Ticks * 100;

    /// <summary>Feeds one datagram. Returns null, or why the connection must end.</summary>
    public CloseReason? Receive(ngtcp2_path* path, in SocketAddress from, byte* data, int bytes, ulong now)
    {
        IsDirty = true;
        _receivedPackets++;
        _receivedBytes += bytes;
        ngtcp2_pkt_info info = default;
        int status = ngtcp2_conn_read_pkt_versioned(Native, path, 1, &info, data, (nuint)bytes, now);
        if (status != 0) return Explain(status);
        HeardAt = now;
        if (!_remote.SameAs(from)) NoteMigration();
        return null;
    }

    /// <summary>The peer's host says that nobody holds the port this connection sends to. ICMP can be forged by whoever knows
    /// the addresses, so one refusal is a hint; a second one, later than a round trip and with nothing heard since the first,
    /// is the end. A peer that lives answers in between. Returns null, or why the connection must end.</summary>
    public CloseReason? HandleRefusal(ulong now)
    {
        if (!_isOpen) return IsDialler ? new CloseReason(CloseKind.HandshakeTimeout, $"nobody listens at {_remoteAddress}: its host refuses the datagrams") : null;
        if (_refusedAt == 0 || HeardAt >= _refusedAt)
        {
            _refusedAt = now;
            return null;
        }
        ulong apart = Math.Max(RefusalsApart, 2 * (ulong)Statistics.RttNanoseconds);
        return now - _refusedAt < apart ? null : new CloseReason(CloseKind.Reset, $"nobody listens at {_remoteAddress} any more: its host refuses the datagrams");
    }

    // ngtcp2 decides whether the peer really moved (it validates the new path); this only follows it.
    void NoteMigration()
    {
        var current = ngtcp2_conn_get_path(Native)->remote;
        SocketAddress address = default;
        new ReadOnlySpan<byte>(current.addr, (int)Math.Min(current.addrlen, SocketAddress.BytesMax)).CopyTo(new Span<byte>(address.Data, SocketAddress.BytesMax));
        address.Length = current.addrlen;
        if (_remote.SameAs(address)) return;
        var before = _remoteAddress;
        _remote = address;
        Volatile.Write(ref _remoteAddress, address.ToEndPoint());
        _endpoint.Log($"{this} moved from {before}");
    }

    /// <summary>Runs timers that are due, looks for a silent peer and for a request to close. Returns null, or why the
    /// connection must end.</summary>
    public CloseReason? Tend(ulong now)
    {
        if (Volatile.Read(ref _closeRequest) is { } text) return new CloseReason(CloseKind.Local, text);
        ulong silent = now - HeardAt, idle = Nanoseconds(_endpoint.Options.IdleTimeout);
        if (_isOpen && silent >= idle) return Silent();
        if (ngtcp2_conn_get_expiry(Native) > now)
        {
            UpdateExpiry();
            return null;
        }
        IsDirty = true;
        int status = ngtcp2_conn_handle_expiry(Native, now);
        return status == 0 ? null : Explain(status);
    }

    void UpdateExpiry()
    {
        ulong expiry = ngtcp2_conn_get_expiry(Native);
        if (_isOpen) expiry = Math.Min(expiry, HeardAt + Nanoseconds(_endpoint.Options.IdleTimeout));
        Expiry = expiry;
    }

    CloseReason Silent() => new(CloseKind.Idle, $"nothing was heard for {_endpoint.Options.IdleTimeout.TotalSeconds:0.###} s");

    /// <summary>What a status of ngtcp2 means for the operator.</summary>
    CloseReason Explain(int status)
    {
        if (_failure is { } failure) return failure;
        _status = status;
        switch (status)
        {
            case NGTCP2_ERR_DRAINING when _statelessReset:
                return new CloseReason(CloseKind.Reset, "the peer does not know this connection any more (stateless reset)");
            case NGTCP2_ERR_DRAINING:
            case NGTCP2_ERR_CLOSING:
                return ExplainRemote();
            case NGTCP2_ERR_IDLE_CLOSE:
                return Silent();
            case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
                string why = _sendError == 0 ? "" : $"; this machine does not send there: {Marshal.GetPInvokeErrorMessage(_sendError)} (errno {_sendError})";
                return new CloseReason(CloseKind.HandshakeTimeout, $"the handshake did not finish within {_endpoint.Options.HandshakeTimeout.TotalSeconds:0.###} s{why}");
            case NGTCP2_ERR_CRYPTO:
                return new CloseReason(CloseKind.Refused, $"TLS failed: {QuicTls.DescribeAlert(ngtcp2_conn_get_tls_alert(Native))}");
            default:
                return new CloseReason(IsHandshaking ? CloseKind.HandshakeTimeout : CloseKind.Protocol, $"QUIC failed: {Describe(status)}");
        }
    }

    CloseReason ExplainRemote()
    {
        var error = ngtcp2_conn_get_ccerr(Native);
        bool application = error->type == NGTCP2_CCERR_TYPE_APPLICATION;
        if (application && error->error_code == CodeDone) return new CloseReason(CloseKind.Remote, "the peer closed");
        if (application && error->error_code == CodeRefused) return new CloseReason(CloseKind.Refused, $"the peer refuses this node ({_endpoint.LocalNodeId.Short}); its own log has the reason");
        if (application && error->error_code == CodeProtocol) return new CloseReason(CloseKind.Protocol, "the peer says that this side broke the framing; its own log has the reason");
        if (application) return new CloseReason(CloseKind.Remote, $"the peer failed (code {error->error_code})");
        if (error->error_code == NGTCP2_APPLICATION_ERROR) return new CloseReason(CloseKind.Refused, "the peer broke off during the handshake; its own log has the reason");
        // 0x100 + TLS alert: the peer's TLS did not like ours, a certificate most of the time.
        if (error->error_code is >= NGTCP2_CRYPTO_ERROR and <= NGTCP2_CRYPTO_ERROR + 0xff) return new CloseReason(CloseKind.Refused, $"the peer's TLS refused: {QuicTls.DescribeAlert((byte)error->error_code)}");
        return new CloseReason(CloseKind.Protocol, $"the peer closed with QUIC error 0x{error->error_code:x}");
    }

    /// <summary>TLS is about to let us send. ngtcp2 1.11 asserts (and so ends the process) when it then writes to a peer whose
    /// hello carried no QUIC transport parameters; GnuTLS lets such a hello pass, so it is stopped here.</summary>
    public bool HandleSendKey() =>
        ngtcp2_conn_get_remote_transport_params(Native) != null || Fail(CloseKind.Protocol, CodeProtocol, "the peer's hello carries no QUIC transport parameters");

    /// <summary>Both handshakes end here, before any lane opens: whose key is it, and is that peer wanted?</summary>
    public bool HandleHandshakeCompleted()
    {
        if (!PeerCertificate.TryIdentify(QuicTls.PeerCertificate(_tls), DateTimeOffset.UtcNow, out var id, out string? refusal)) return Refuse(refusal!);
        if (IsDialler && id != RemoteNodeId) return Refuse($"expected {RemoteNodeId.Short} at {_remoteAddress}, but {id} answered; check the address or the NodeId");
        RemoteNodeId = id;
        if (!IsDialler)
        {
            if (!_endpoint.Peers.TryEnter(this, out refusal)) return Refuse(refusal!);
            _isEntered = true;
            var admission = _endpoint.Options.Admit?.Invoke(this) ?? Admission.Refuse("this endpoint accepts nobody");
            if (admission.User is null) return Refuse(admission.Refusal ?? "no reason given");
            _user = admission.User;
        }
        OpenLanes();
        _isOpen = true;
        _endpoint.Log($"{this} open ({QuicTls.Cipher(_tls)}){(IsDialler ? _endpoint.DialFailures.Opened(id, _endpoint.Now) : "")}");
        _user!.Opened(this);
        return true;
    }

    bool Refuse(string reason) => Fail(CloseKind.Refused, CodeRefused, reason);

    bool Fail(CloseKind kind, ulong code, string text)
    {
        _failure ??= new CloseReason(kind, text);
        _failureCode = code;
        return false;
    }

    /// <summary>An exception in a callback ends the connection; one about the data names the peer as the offender.</summary>
    public int HandleException(Exception e)
    {
        if (e is InvalidDataException) Fail(CloseKind.Protocol, CodeProtocol, e.Message);
        else Fail(CloseKind.Failed, CodeFailed, $"{e.GetType().Name}: {e.Message}");
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }

    public void HandleStatelessReset() => _statelessReset = true;

    public void HandleNewConnectionId(ngtcp2_cid* id, byte* token)
    {
        _endpoint.Ids.Choose(id);
        _endpoint.Ids.ResetToken(id, token);
        _endpoint.Ids.Add(id, this);
    }

    public void HandleRemoveConnectionId(ngtcp2_cid* id) => _endpoint.Ids.Remove(id);

    public void Wake()
    {
        if (Interlocked.Exchange(ref _woken, 1) == 0 && !_endpoint.IsLoopThread) _endpoint.Wake();
    }

    public void Close(string reason)
    {
        Interlocked.CompareExchange(ref _closeRequest, reason, null);
        Wake();
    }

    /// <summary>This side's address changed: moves to the new path at once (RFC 9000, 9.2). Only the dialler may.</summary>
    public CloseReason? Migrate(ngtcp2_path* path, ulong now)
    {
        path->remote = ngtcp2_conn_get_path(Native)->remote;
        IsDirty = true;
        int status = ngtcp2_conn_initiate_immediate_migration(Native, path, now);
        return status == 0 ? null : new CloseReason(CloseKind.Failed, $"this side's address changed and QUIC could not follow: {Describe(status)}");
    }

    /// <summary>Writes the CONNECTION_CLOSE that goes with a reason. Returns its length, 0 if the peer needs none.</summary>
    public int WriteClose(CloseReason reason, ngtcp2_path* path, byte* buffer, int bytes, ulong now)
    {
        // Without the peer's parameters there is no version to write in.
        if (ngtcp2_conn_get_remote_transport_params(Native) == null) return 0;
        ngtcp2_ccerr error = default;
        switch (reason.Kind)
        {
            case CloseKind.Remote or CloseKind.Reset or CloseKind.Idle:
                return 0;
            case CloseKind.Refused when _failure is null && ngtcp2_conn_get_tls_alert(Native) is not 0 and var alert:
                ngtcp2_ccerr_set_tls_alert(&error, alert, null, 0);
                break;
            case CloseKind.Protocol or CloseKind.HandshakeTimeout when _failure is null:
                ngtcp2_ccerr_set_liberr(&error, _status, null, 0);
                break;
            default:
                ngtcp2_ccerr_set_application_error(&error, reason.Kind == CloseKind.Local ? CodeDone : _failureCode, null, 0);
                break;
        }
        ngtcp2_pkt_info info;
        return (int)Math.Max(0, ngtcp2_conn_write_connection_close_versioned(Native, path, 1, &info, buffer, (nuint)bytes, &error, now));
    }

    /// <summary>Frees everything native and tells the user. The last call on this object from the loop.</summary>
    public void Finish(CloseReason reason)
    {
        PublishStatistics();
        if (Native != 0) ngtcp2_conn_del(Native);
        if (_tls != 0) GnuTls.gnutls_deinit(_tls);
        Native = _tls = 0;
        NativeMemory.Free(_reference);
        _self.Free();
        bool hasFailed = IsDialler && !_isOpen && reason.Kind != CloseKind.Local;
        _isOpen = false;
        if (_isEntered) _endpoint.Peers.Leave(this);
        // A line for each stranger could be thousands of lines; most are only counted.
        string? counted = hasFailed ? _endpoint.DialFailures.Failed(RemoteNodeId, reason.Text, _endpoint.Now) : _user is not null || TellsStranger(reason) ? "" : null;
        if (counted is not null) _endpoint.Log($"{this} closed: {reason.Text} [{reason.Kind}]{counted}");
        _user?.Closed(this, reason);
    }

    bool TellsStranger(CloseReason reason)
    {
        if (reason.Kind == CloseKind.Local) return false;
        bool isRefusal = reason.Kind == CloseKind.Refused;
        return _endpoint.Strangers.Note(isRefusal ? StrangerDeed.Refused : StrangerDeed.Unfinished, Source, _endpoint.Now) && isRefusal;
    }

    public override string ToString() => $"quic {(IsDialler ? "to" : "from")} {(RemoteNodeId.IsEmpty ? "?" : RemoteNodeId.Short)} at {RemoteAddress}";
}
