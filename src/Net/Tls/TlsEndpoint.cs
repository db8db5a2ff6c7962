// The second transport: TLS 1.3 over striped TCP, for networks that stop UDP. Nobody falls back to it silently: it is chosen
// by configuration, and its kind is in every log line and metric.
// SslStream works in tasks (handshakes, reads, writes); they leave notes for one loop thread, which owns all connections and
// makes every call into the users.
// Invariant: connections and their tables are touched by the loop thread only.
using System.Diagnostics;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic.Interop;
using SocketAddress = OrionNative.Net.Quic.SocketAddress;

namespace OrionNative.Net.Tls;

/// <summary>A TCP endpoint: listens, accepts and dials.</summary>
public sealed class TlsEndpoint : ITransportEndpoint
{
    const int SpareChunksMax = 512;
    static readonly TimeSpan _tickEvery = TimeSpan.FromMilliseconds(100);

    readonly NodeIdentity _identity;
    readonly PeerRegistry _peers;
    readonly Strangers _strangers;
    readonly Socket _listener;
    readonly LoopQueue _queue = new();
    readonly Thread _thread;
    readonly CancellationTokenSource _end = new();
    readonly CancellationToken _ending;
    readonly Dictionary<(NodeId Peer, UInt128 Number), TlsConnection> _accepted = [];
    readonly HashSet<TlsConnection> _connections = [];
    readonly List<TlsConnection> _turn = [];
    readonly Stack<Chunk> _spare = new();
    readonly Dictionary<UInt128, int> _halfOpenOf = [];
    int _halfOpen;
    volatile bool _stopping;

    /// <summary>Binds the address and starts the loop.</summary>
    public TlsEndpoint(NodeIdentity identity, TlsOptions options)
    {
        if (options.KeepAlive > options.IdleTimeout / 2) throw new ArgumentException($"KeepAlive ({options.KeepAlive}) must be at most half of IdleTimeout ({options.IdleTimeout}).", nameof(options));
        if (options.Stripes is < 1 or > StripePreface.CountMax) throw new ArgumentException($"Stripes must be 1 to {StripePreface.CountMax}; got {options.Stripes}.", nameof(options));
        (_identity, Options, _ending) = (identity, options, _end.Token);
        _listener = TcpListening.At(options.Listen, backlog: 512);
        LocalAddress = (IPEndPoint)_listener.LocalEndPoint!;
        _peers = new PeerRegistry(options.Log, options.ConnectionsPerPeer);
        _strangers = new Strangers($"tcp {LocalAddress}", options.StrangersEvery, options.Log);
        _thread = new Thread(Run) { IsBackground = true, Name = $"tcp {LocalAddress}" };
        _thread.Start();
        _ = AcceptAsync();
    }

    /// <inheritdoc/>
    public TransportKind Kind => TransportKind.Tcp;

    /// <inheritdoc/>
    public NodeId LocalNodeId => _identity.Id;

    /// <inheritdoc/>
    public IPEndPoint LocalAddress { get; }

    internal TlsOptions Options { get; }

    /// <summary>Dials that led nowhere; the loop's.</summary>
    internal DialFailures DialFailures { get; } = new();

    internal void Log(string sentence) => Options.Log?.Invoke(sentence);

    internal bool Post(in LoopNote note) => _queue.Post(note);

    internal Chunk RentChunk()
    {
        lock (_spare) return _spare.TryPop(out Chunk? chunk) ? chunk : new Chunk();
    }

    internal void ReturnChunk(Chunk chunk)
    {
        lock (_spare)
            if (_spare.Count < SpareChunksMax) _spare.Push(chunk);
    }

    internal void Forget(TlsConnection connection)
    {
        _connections.Remove(connection);
        if (_accepted.Remove((connection.RemoteNodeId, connection.Number))) _peers.Leave(connection);
    }

    // A Bye needs a moment to leave; the peer usually hangs up first.
    internal static void DisposeLater(TlsStripe stripe) => _ = Task.Delay(200).ContinueWith(_ => stripe.Dispose(), TaskScheduler.Default);

    /// <inheritdoc/>
    public ITransportConnection Dial(IPEndPoint address, NodeId expected, ITransportUser user)
    {
        Span<byte> random = stackalloc byte[16];
        RandomNumberGenerator.Fill(random);
        var connection = new TlsConnection(this, new UInt128(BitConverter.ToUInt64(random), BitConverter.ToUInt64(random[8..])), isDialler: true, address, expected);
        connection.Serve(user);
        ObjectDisposedException.ThrowIf(!Post(new LoopNote(LoopNoteKind.Dialling, connection)), this);
        int stripes = IPAddress.IsLoopback(address.Address) ? Math.Min(Options.StripesOnLoopback, Options.Stripes) : Options.Stripes;
        for (int i = 0; i < stripes; i++) _ = DialStripeAsync(connection, new StripePreface(connection.Number, i, stripes));
        return connection;
    }

    async Task DialStripeAsync(TlsConnection connection, StripePreface preface)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_ending);
        limit.CancelAfter(Options.HandshakeTimeout);
        Socket? socket = null;
        try
        {
            socket = new Socket(connection.RemoteAddress.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            string control = TlsHandshake.Prepare(socket, Options);
            // like QUIC, from the address that was chosen for this endpoint, if one was
            if (!Options.Listen.Address.Equals(IPAddress.Any) && !Options.Listen.Address.Equals(IPAddress.IPv6Any)) socket.Bind(new IPEndPoint(Options.Listen.Address, 0));
            await socket.ConnectAsync(connection.RemoteAddress, limit.Token).ConfigureAwait(false);
            (SslStream stream, NodeId peer) = await TlsHandshake.DialAsync(socket, _identity, connection.RemoteNodeId, limit.Token).ConfigureAwait(false);
            byte[] wire = new byte[StripePreface.Bytes];
            preface.Encode(wire);
            await stream.WriteAsync(wire, limit.Token).ConfigureAwait(false);
            Bring(LoopNoteKind.StripeDialled, connection, new NewStripe(socket, stream, peer, connection.RemoteAddress, preface, control));
        }
        catch (Exception failure)
        {
            socket?.Dispose();
            CloseReason reason = failure switch
            {
                PeerRefusedException => new CloseReason(CloseKind.Refused, failure.Message),
                OperationCanceledException => new CloseReason(CloseKind.HandshakeTimeout, $"{connection.RemoteAddress} did not finish the handshake within {Options.HandshakeTimeout.TotalSeconds} s"),
                IOException => new CloseReason(CloseKind.Refused, $"{connection.RemoteAddress} broke off the handshake: {failure.Message}"),
                SocketException => new CloseReason(CloseKind.Reset, $"{connection.RemoteAddress} could not be reached: {failure.Message}"),
                _ => new CloseReason(CloseKind.Failed, $"dialling {connection.RemoteAddress}: {failure.Message}"),
            };
            Post(new LoopNote(LoopNoteKind.DialFailed, connection, Reason: reason));
        }
    }

    void Bring(LoopNoteKind kind, TlsConnection? connection, NewStripe stripe)
    {
        if (!Post(new LoopNote(kind, connection, New: stripe))) stripe.Stream.Dispose();
    }

    async Task AcceptAsync()
    {
        while (!_stopping)
        {
            try
            {
                Socket socket = await _listener.AcceptAsync(_ending).ConfigureAwait(false);
                var from = (IPEndPoint)socket.RemoteEndPoint!;
                UInt128 source = SourceOf(from);
                if (TryBegin(source))
                {
                    _ = AcceptStripeAsync(socket, from, source);
                    continue;
                }
                _strangers.Note(StrangerDeed.TurnedAway, source, Nanoseconds());
                socket.Dispose();
            }
            catch (Exception failure) when (failure is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException failure)
            {
                // descriptors may be short for a while; whoever was waiting comes again
                Log($"tcp {LocalAddress}: accepting failed: {failure.Message}");
                await Task.Delay(_tickEvery).ConfigureAwait(false);
            }
        }
    }

    internal bool TellsRefusal(IPEndPoint address) => _strangers.Note(StrangerDeed.Refused, SourceOf(address), Nanoseconds());

    static UInt128 SourceOf(IPEndPoint address) => SocketAddress.Of(address, Libc.AF_INET6).Source;

    bool TryBegin(UInt128 source)
    {
        lock (_halfOpenOf)
        {
            int ofSource = _halfOpenOf.GetValueOrDefault(source);
            if (_halfOpen >= Options.HalfOpenMax || ofSource >= Options.HalfOpenPerSourceMax) return false;
            _halfOpen++;
            _halfOpenOf[source] = ofSource + 1;
            return true;
        }
    }

    void Finished(UInt128 source)
    {
        lock (_halfOpenOf)
        {
            _halfOpen--;
            if (--_halfOpenOf[source] == 0) _halfOpenOf.Remove(source);
        }
    }

    async Task AcceptStripeAsync(Socket socket, IPEndPoint from, UInt128 source)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_ending);
        limit.CancelAfter(Options.HandshakeTimeout);
        try
        {
            string control = TlsHandshake.Prepare(socket, Options);
            (SslStream stream, NodeId peer) = await TlsHandshake.AcceptAsync(socket, _identity, limit.Token).ConfigureAwait(false);
            byte[] wire = new byte[StripePreface.Bytes];
            await stream.ReadExactlyAsync(wire, limit.Token).ConfigureAwait(false);
            Bring(LoopNoteKind.StripeAccepted, null, new NewStripe(socket, stream, peer, from, StripePreface.Decode(wire), control));
        }
        catch (Exception failure)
        {
            socket.Dispose();
            if (!_stopping && _strangers.Note(StrangerDeed.Unfinished, source, Nanoseconds()))
                Log($"tcp {LocalAddress}: a handshake from {from} failed: {failure.Message}");
        }
        finally
        {
            Finished(source);
        }
    }

    void Run()
    {
        long lastTick = Now();
        bool stop = false;
        while (!stop)
        {
            ReadOnlySpan<LoopNote> notes = _queue.Take(_tickEvery);
            long now = Now();
            foreach (ref readonly LoopNote note in notes)
            {
                stop |= note.Kind == LoopNoteKind.Stop;
                Handle(note, now);
            }
            if (now - lastTick >= _tickEvery.Ticks)
            {
                lastTick = now;
                _strangers.Tick(Nanoseconds());
                foreach (TlsConnection connection in _connections.ToArray()) Guard(connection, static (c, at) => c.Tick(at), now);
            }
            _turn.Clear();
            foreach (TlsConnection connection in _connections)
                if (connection.IsDirty) _turn.Add(connection);
            foreach (TlsConnection connection in _turn) Guard(connection, static (c, at) => c.Turn(at), now);
        }
        foreach (ref readonly LoopNote note in _queue.Close()) Handle(note, Now());
        foreach (TlsConnection connection in _connections.ToArray())
            connection.End(new CloseReason(CloseKind.Local, "the endpoint was closed"), ByeStatus.Done);
    }

    internal static ulong Nanoseconds() => (ulong)Now() * 100;

    static long Now() => Stopwatch.GetElapsedTime(0).Ticks;

    static void Guard(TlsConnection connection, Action<TlsConnection, long> act, long now)
    {
        try
        {
            act(connection, now);
        }
        catch (InvalidDataException violation)
        {
            connection.HandleFailure(violation, now);
        }
    }

    void Handle(in LoopNote note, long now)
    {
        if (note.Kind == LoopNoteKind.StripeAccepted)
        {
            Admit(note.New!, now);
            return;
        }
        if (note.Connection is not { } connection) return;
        if (connection.IsClosed)
        {
            if (note.Chunk is not null) ReturnChunk(note.Chunk);
            note.New?.Stream.Dispose();
            return;
        }
        switch (note.Kind)
        {
            case LoopNoteKind.Dialling: _connections.Add(connection); break;
            case LoopNoteKind.Wake:
                connection.Woken();
                connection.IsDirty = true;
                break;
            case LoopNoteKind.Frame:
                try
                {
                    connection.HandleFrame(note.Frame, note.Chunk, now);
                }
                catch (InvalidDataException violation)
                {
                    connection.HandleFailure(violation, now);
                }
                break;
            case LoopNoteKind.Written:
                note.Stripe!.Free.Push(note.Buffer!);
                connection.IsDirty = true;
                break;
            case LoopNoteKind.StripeFailed: connection.HandleFailure(note.Failure!, now); break;
            case LoopNoteKind.StripeDialled: Attach(connection, note.New!, now); break;
            case LoopNoteKind.DialFailed: connection.HandleFailure(note.Reason!, now); break;
            case LoopNoteKind.Close: connection.End(note.Reason!, ByeStatus.Done); break;
        }
    }

    void Admit(NewStripe stripe, long now)
    {
        var key = (stripe.Peer, stripe.Preface.Connection);
        if (!_accepted.TryGetValue(key, out TlsConnection? connection))
        {
            if (_connections.Count >= Options.ConnectionsMax)
            {
                if (_strangers.Note(StrangerDeed.TurnedAway, SourceOf(stripe.Address), Nanoseconds()))
                    Log($"tcp {LocalAddress}: {stripe.Peer.Short} at {stripe.Address} was turned away: {Options.ConnectionsMax} connections are open");
                stripe.Stream.Dispose();
                return;
            }
            connection = new TlsConnection(this, stripe.Preface.Connection, isDialler: false, stripe.Address, stripe.Peer);
            bool enters = _peers.TryEnter(connection, out string? refusal);
            Admission admission = !enters ? Admission.Refuse(refusal!) : Options.Admit?.Invoke(connection) ?? Admission.Refuse("this endpoint accepts nobody");
            if (admission.User is null)
            {
                connection.Attach(new TlsStripe(this, connection, 0, stripe.Socket, stripe.Stream));
                connection.End(new CloseReason(CloseKind.Refused, admission.Refusal ?? "no reason was given"), ByeStatus.Refused);
                if (enters) _peers.Leave(connection);
                return;
            }
            connection.Serve(admission.User);
            _accepted.Add(key, connection);
        }
        Attach(connection, stripe, now);
    }

    void Attach(TlsConnection connection, NewStripe stripe, long now)
    {
        if (connection.Has(stripe.Preface.Index) || connection.StripeCount == stripe.Preface.Count)
        {
            Log($"tcp {LocalAddress}: {stripe.Peer.Short} opened stripe {stripe.Preface.Index} of {stripe.Preface.Count} twice");
            stripe.Stream.Dispose();
            return;
        }
        connection.Attach(new TlsStripe(this, connection, stripe.Preface.Index, stripe.Socket, stripe.Stream));
        if (connection.IsOpen) return;
        _connections.Add(connection);
        Log($"tcp {stripe.Peer.Short} at {stripe.Address}: open ({stripe.Preface.Count} stripes, {stripe.CongestionControl}, {stripe.Stream.NegotiatedCipherSuite}){DialFailures.Opened(stripe.Peer, Nanoseconds())}");
        connection.Open(now);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_stopping) return;
        _stopping = true;
        _end.Cancel();
        _listener.Dispose();
        Post(new LoopNote(LoopNoteKind.Stop, null));
        if (Environment.CurrentManagedThreadId != _thread.ManagedThreadId) _thread.Join();
        _end.Dispose();
    }
}
