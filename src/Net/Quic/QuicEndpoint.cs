// One UDP address with any number of QUIC connections, driven by one thread:
//   wait (ppoll) until a datagram, a wake-up or the earliest timer -> read batches -> run timers -> let connections write.
// Pacing needs timers finer than a millisecond, so the thread sleeps with nanosecond timeouts and a timer slack of 1 us; with
// nothing due it sleeps. What does not belong to a connection goes to the Door (handshakes, Retry, stateless answers).
// Invariant: connections, tables and native objects are touched by the loop thread only; other threads leave notes.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic.Interop;
using static OrionNative.Net.Quic.Interop.Ngtcp2;

namespace OrionNative.Net.Quic;

/// <summary>A QUIC endpoint: listens, accepts and dials on one UDP socket.</summary>
public sealed unsafe class QuicEndpoint : ITransportEndpoint
{
    // Batches read before timers and senders get their turn; a batch is up to 64 KiB.
    const int ReceiveBatchesMax = 16;
    const ulong TimerSlackNanoseconds = 1000;

    // What a closed connection's peer had under way still comes for a while; it is no stranger.
    const int LateMax = 32;
    const ulong LateNanoseconds = 10_000_000_000;

    // What may come this soon after the last is waited for awake: being woken costs both sides some 20 us, and the sender pays
    // in its sendmsg.
    const ulong AwakeNanoseconds = 200_000;

    readonly List<QuicConnection> _connections = [];
    readonly (SocketAddress Address, ulong Until)[] _late = new (SocketAddress, ulong)[LateMax];
    readonly ConcurrentQueue<Action> _notes = new();
    readonly Thread _thread;
    readonly Lock _gate = new();
    readonly WakeSignal _wake = new();
    readonly SendBatch _batch;
    readonly Door _door;
    readonly ushort* _probes;
    readonly ngtcp2_path* _path;
    readonly SocketAddress* _local;
    UdpSocket _socket;
    IPEndPoint _localAddress;
    volatile bool _stopping;
    bool _hasEnded; // under the gate
    ulong _now, _lastWait;
    int _nextLate;

    /// <summary>Binds the address and starts the loop. Throws <see cref="PlatformNotSupportedException"/> where QUIC is not
    /// available, with the fix.</summary>
    public QuicEndpoint(NodeIdentity identity, QuicOptions options)
    {
        QuicLibrary.ThrowIfNotSupported();
        if (options.KeepAlive > options.IdleTimeout / 2) throw new ArgumentException($"KeepAlive ({options.KeepAlive}) must be at most half of IdleTimeout ({options.IdleTimeout}).", nameof(options));
        Options = options;
        LocalNodeId = identity.Id;
        _socket = new UdpSocket(options.Listen, options.SegmentOffload, options.Log, hearsRefusals: true);
        Ids = new ConnectionIds(identity.DeriveSecret("orion quic stateless reset"));
        Tls = new QuicTls(identity, options.IsAnonymous);
        _localAddress = _socket.Address.ToEndPoint();
        Peers = new PeerRegistry(options.Log, options.ConnectionsPerPeer);
        Strangers = new Strangers($"quic {_localAddress}", options.StrangersEvery, options.Log);
        _batch = new SendBatch(_socket);
        _path = (ngtcp2_path*)NativeMemory.AllocZeroed((nuint)sizeof(ngtcp2_path));
        _local = (SocketAddress*)NativeMemory.AllocZeroed((nuint)sizeof(SocketAddress));
        UseLocalAddress();
        _probes = (ushort*)NativeMemory.Alloc((nuint)Math.Max(1, options.MtuProbes.Count) * sizeof(ushort));
        for (int i = 0; i < options.MtuProbes.Count; i++) _probes[i] = checked((ushort)options.MtuProbes[i]);
        _door = new Door(this);
        _now = (ulong)Stopwatch.GetTimestamp();
        _thread = new Thread(Run) { IsBackground = true, Name = $"quic {_localAddress}" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public TransportKind Kind => TransportKind.Quic;

    /// <inheritdoc/>
    public NodeId LocalNodeId { get; }

    /// <inheritdoc/>
    public IPEndPoint LocalAddress => Volatile.Read(ref _localAddress);

    internal QuicOptions Options { get; }

    internal QuicTls Tls { get; }

    internal ConnectionIds Ids { get; }

    internal PeerRegistry Peers { get; }

    /// <summary>Dials that led nowhere; the loop's.</summary>
    internal DialFailures DialFailures { get; } = new();

    internal Strangers Strangers { get; }

    internal UdpSocket Socket => _socket;

    /// <summary>The loop's time: CLOCK_MONOTONIC, taken once per turn, never backwards.</summary>
    internal ulong Now => _now;

    internal bool IsLoopThread => Environment.CurrentManagedThreadId == _thread.ManagedThreadId;

    internal int ConnectionCount => _connections.Count;

    internal List<QuicConnection> Connections => _connections;

    internal void Log(string sentence) => Options.Log?.Invoke(sentence);

    /// <inheritdoc/>
    public ITransportConnection Dial(IPEndPoint address, NodeId expected, ITransportUser user)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_stopping || _hasEnded, this);
            var connection = new QuicConnection(this, isDialler: true, SocketAddress.Of(address), expected, user);
            _notes.Enqueue(() => Begin(connection, address));
            Wake();
            return connection;
        }
    }

    /// <summary>Moves to another local address, as a node does whose network changed: dialled connections go on over a new
    /// path. Accepted ones stay with the old address and end by their idle time; their diallers come back by themselves.
    /// Returns when the move is made. Not to be called from the loop thread.</summary>
    public void Rebind(IPEndPoint listen)
    {
        ExceptionDispatchInfo? failure = null;
        using var done = new ManualResetEventSlim();
        lock (_gate)
        {
            // a note that nobody takes would be waited for without end
            ObjectDisposedException.ThrowIf(_stopping || _hasEnded, this);
            _notes.Enqueue(() =>
            {
                try
                {
                    Move(listen);
                }
                catch (Exception e)
                {
                    failure = ExceptionDispatchInfo.Capture(e);
                }
                done.Set();
            });
        }
        Wake();
        done.Wait();
        failure?.Throw();
    }

    internal void Wake() => _wake.Ring();

    void Begin(QuicConnection connection, IPEndPoint address)
    {
        ngtcp2_settings settings;
        ngtcp2_transport_params parameters;
        if (!SocketAddress.Carries(_socket.Family, address))
        {
            connection.Finish(new CloseReason(CloseKind.Failed, $"{address} is an IPv6 address, and this endpoint at {_localAddress} carries IPv4 only. Fix: listen on [::], which carries both"));
            return;
        }
        Prepare(&settings, &parameters);
        ngtcp2_cid destination, source;
        Ids.Choose(&destination);
        // The first destination id must be unpredictable and at least 8 bytes; it is the server's to replace.
        Ids.Choose(&source);
        var remote = SocketAddress.Of(address, _socket.Family);
        _path->remote = new ngtcp2_addr { addr = remote.Data, addrlen = remote.Length };
        nint native;
        int status = ngtcp2_conn_client_new_versioned(
            &native, &destination, &source, _path, NGTCP2_PROTO_VER_V1, 1, QuicCallbacks.Client, 2, &settings, 1, &parameters, null, connection.UserData);
        if (status != 0)
        {
            connection.Finish(new CloseReason(CloseKind.Failed, $"ngtcp2 could not start a connection: {Describe(status)}"));
            return;
        }
        Adopt(connection, native, &source, remote);
    }

    internal void Adopt(QuicConnection connection, nint native, ngtcp2_cid* source, in SocketAddress remote)
    {
        Ids.Add(source, connection);
        _connections.Add(connection);
        connection.Start(native, remote, _now);
    }

    internal void Prepare(ngtcp2_settings* settings, ngtcp2_transport_params* parameters)
    {
        ngtcp2_settings_default_versioned(2, settings);
        settings->cc_algo = (int)Options.CongestionControl;
        settings->initial_ts = _now;
        settings->handshake_timeout = QuicConnection.Nanoseconds(Options.HandshakeTimeout);
        settings->max_tx_udp_payload_size = SendBatch.PacketBytesMax;
        settings->pmtud_probes = _probes;
        settings->pmtud_probeslen = (nuint)Options.MtuProbes.Count;
        settings->no_pmtud = (byte)(Options.MtuProbes.Count == 0 ? 1 : 0);
        ngtcp2_transport_params_default_versioned(1, parameters);
        parameters->initial_max_data = parameters->initial_max_stream_data_uni = (ulong)Options.WindowBytes;
        parameters->initial_max_streams_uni = QuicConnection.LaneCount;
        parameters->initial_max_streams_bidi = 0;
        parameters->max_idle_timeout = QuicConnection.Nanoseconds(Options.IdleTimeout);
        parameters->active_connection_id_limit = 4;
    }

    void Run()
    {
        _ = Libc.prctl(Libc.PR_SET_TIMERSLACK, (nuint)TimerSlackNanoseconds, 0, 0, 0);
        while (!_stopping)
        {
            _now = (ulong)Stopwatch.GetTimestamp();
            while (_notes.TryDequeue(out var note)) note();
            bool received = ReceiveAll();
            if (_socket.HasErrors) HearRefusals();
            if (_batch.IsStuck) _batch.Flush();
            ulong earliest = Serve();
            if (!received) Sleep(earliest);
        }
        lock (_gate) _hasEnded = true;
        while (_notes.TryDequeue(out var note)) note();
        for (int i = _connections.Count - 1; i >= 0; i--) End(i, new CloseReason(CloseKind.Local, "this endpoint was closed"));
    }

    bool ReceiveAll()
    {
        for (int i = 0; i < ReceiveBatchesMax; i++)
        {
            if (!_socket.Receive(out byte* data, out int bytes, out int segment)) return i > 0;
            for (int offset = 0; offset < bytes; offset += segment) Dispatch(data + offset, Math.Min(segment, bytes - offset));
        }
        return true;
    }

    void HearRefusals()
    {
        while (_socket.TryReadRefusal(out var peer))
        {
            for (int i = _connections.Count - 1; i >= 0; i--)
            {
                if (_connections[i].IsAt(peer) && _connections[i].HandleRefusal(_now) is { } reason) End(i, reason);
            }
        }
    }

    /// <summary>Counts a deed of the socket's current peer, unless it may be what a closed connection had under way.</summary>
    internal void NoteStranger(StrangerDeed deed)
    {
        foreach (ref readonly var late in _late.AsSpan())
            if (late.Until > _now && late.Address.SameAs(_socket.Peer)) return;
        Strangers.Note(deed, _socket.Peer.Source, _now);
    }

    void Dispatch(byte* data, int bytes)
    {
        // A short header is one byte and our 8-byte id. A long one names its lengths and is the Door's to read.
        if (bytes <= ConnectionIds.Bytes)
        {
            NoteStranger(StrangerDeed.LeadsNowhere);
            return;
        }
        var connection = (*data & 0x80) == 0 ? Ids.Find(data + 1, ConnectionIds.Bytes) : _door.FindLong(data, bytes);
        connection ??= _door.Knock(data, bytes);
        if (connection is not null) Deliver(connection, data, bytes);
    }

    /// <summary>Feeds one datagram of the socket's current peer to a connection; false if that ended it.</summary>
    internal bool Deliver(QuicConnection connection, byte* data, int bytes)
    {
        ref readonly var peer = ref _socket.Peer;
        fixed (SocketAddress* remote = &peer)
        {
            _path->remote = new ngtcp2_addr { addr = remote->Data, addrlen = remote->Length };
            var reason = connection.Receive(_path, peer, data, bytes, _now);
            if (reason is null) return true;
            End(_connections.IndexOf(connection), reason);
            return false;
        }
    }

    // Every connection with something due gets one quantum; returns the earliest next timer.
    ulong Serve()
    {
        _now = Math.Max(_now, (ulong)Stopwatch.GetTimestamp());
        Strangers.Tick(_now);
        ulong earliest = Strangers.DueAt;
        for (int i = _connections.Count - 1; i >= 0; i--)
        {
            var connection = _connections[i];
            bool woken = connection.TakeWake();
            CloseReason? reason = woken || connection.Expiry <= _now ? connection.Tend(_now) : null;
            if (reason is null && (connection.IsDirty || woken))
            {
                if (_batch.IsStuck) connection.IsDirty = true;
                else reason = connection.Send(_batch, _now);
            }
            if (reason is not null) End(i, reason);
            else earliest = Math.Min(earliest, connection.Expiry);
        }
        return earliest;
    }

    void End(int index, CloseReason reason)
    {
        var connection = _connections[index];
        _connections.RemoveAt(index);
        if (!_batch.IsStuck)
        {
            int bytes = connection.WriteClose(reason, _batch.Path, _batch.Tail, SendBatch.PacketBytesMax, _now);
            if (bytes > 0)
            {
                _batch.Add(bytes);
                _batch.Flush();
            }
        }
        Ids.RemoveAll(connection);
        if (!connection.IsHandshaking)
        {
            _late[_nextLate] = (connection.Remote, _now + LateNanoseconds);
            _nextLate = (_nextLate + 1) % LateMax;
        }
        connection.Finish(reason);
    }

    void Sleep(ulong until)
    {
        var polls = stackalloc Libc.pollfd[2];
        polls[0] = new Libc.pollfd { fd = _socket.Descriptor, events = (short)(Libc.POLLIN | (_batch.IsStuck ? Libc.POLLOUT : 0)) };
        polls[1] = new Libc.pollfd { fd = _wake.Descriptor, events = Libc.POLLIN };
        ulong began = (ulong)Stopwatch.GetTimestamp();
        if (until <= began && !_batch.IsStuck) return;
        if (_lastWait >= AwakeNanoseconds || !StayAwake(polls, Math.Min(until, began + AwakeNanoseconds))) FallAsleep(polls, until);
        _lastWait = (ulong)Stopwatch.GetTimestamp() - began;
        _socket.HasErrors |= (polls[0].revents & Libc.POLLERR) != 0;
        if (polls[1].revents != 0) _wake.Clear();
    }

    // Whoever else wants this core gets it: two loops and their users may share two cores.
    static bool StayAwake(Libc.pollfd* polls, ulong until)
    {
        Libc.timespec atOnce = default;
        for (; (ulong)Stopwatch.GetTimestamp() < until; Thread.Yield())
            if (Libc.ppoll(polls, 2, &atOnce, null) != 0) return true;
        return false;
    }

    void FallAsleep(Libc.pollfd* polls, ulong until)
    {
        ulong now = (ulong)Stopwatch.GetTimestamp(), wait = until <= now ? 0 : until - now;
        var timeout = new Libc.timespec { tv_sec = (long)(wait / 1_000_000_000), tv_nsec = (long)(wait % 1_000_000_000) };
        _ = Libc.ppoll(polls, 2, until == ulong.MaxValue || _batch.IsStuck ? null : &timeout, null);
    }

    void Move(IPEndPoint listen)
    {
        var old = _socket;
        _socket = new UdpSocket(listen, Options.SegmentOffload, Options.Log, hearsRefusals: true);
        old.Dispose();
        _batch.UseSocket(_socket);
        UseLocalAddress();
        Volatile.Write(ref _localAddress, _socket.Address.ToEndPoint());
        for (int i = _connections.Count - 1; i >= 0; i--)
        {
            if (_connections[i].IsDialler && _connections[i].Migrate(_path, _now) is { } reason) End(i, reason);
        }
    }

    // The local half of the path that ngtcp2 is told with every datagram: constant while the socket lives.
    void UseLocalAddress()
    {
        *_local = _socket.Address;
        _path->local = new ngtcp2_addr { addr = _local->Data, addrlen = _local->Length };
    }

    /// <summary>Closes every connection and frees the address. Not to be called from the loop thread.</summary>
    public void Dispose()
    {
        if (_stopping) return;
        _stopping = true;
        Wake();
        _thread.Join();
        _socket.Dispose();
        _batch.Dispose();
        Tls.Dispose();
        _wake.Dispose();
        NativeMemory.Free(_probes);
        NativeMemory.Free(_path);
        NativeMemory.Free(_local);
    }
}
