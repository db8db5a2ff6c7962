// A link to one peer, as the layers above use it from any thread: send payloads out of slots, grant slots to be filled, ask
// small questions. Commands cross to the transport's loop through an inbox under a short lock; the loop drains it before it
// looks at the control lane. One PeerLink serves one connection; a new connection takes a new one.
//   new -> Opened (both sides said Hello) -> Closed        or new -> Closed
// Invariant: after Closed every send has ended, and every slot that this link held is back in its pool.
using System.Collections.Concurrent;

namespace OrionNative.Net.Framing;

/// <summary>What the layers above decide and learn. Called on the transport's loop: quick, never blocking. Every member of
/// the link may be called from here.</summary>
public interface ILinkHandler
{
    /// <summary>Both sides have said Hello and belong to the same run.</summary>
    void Opened(PeerLink link);

    /// <summary>A header has arrived, its payload has not: ACCEPTED lets it come, any other answer turns it away.</summary>
    Answer Admit(PeerLink link, in MessageHeader header);

    /// <summary>A payload has arrived whole and its digest is right. With ACCEPTED or Deferred the slot is the handler's until
    /// it calls <see cref="PeerLink.Grant"/> or <see cref="PinnedPool.Return"/>; otherwise the link grants it again. Deferred
    /// promises a later <see cref="PeerLink.Answer"/>.</summary>
    Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id);

    /// <summary>The peer asks; <see cref="PeerLink.Respond"/> answers, now or later. The body is gone after the call.</summary>
    void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body);

    /// <summary>Nothing more comes and nothing more goes; sends have ended already.</summary>
    void Closed(PeerLink link, CloseReason reason);
}

/// <summary>The reply to a request.</summary>
public readonly record struct Response(ushort Status, byte[] Body);

/// <summary>How a link behaves.</summary>
public sealed record LinkOptions
{
    /// <summary>The training job; a peer of another one is cut off.</summary>
    public required UInt128 Run { get; init; }

    /// <summary>Accepted messages; share one among all links of a process.</summary>
    public required DuplicateWindow Window { get; init; }

    /// <summary>A message that has begun and brings nothing for this long costs the peer its link.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>The deadline of a send that names none.</summary>
    public TimeSpan AnswerWithin { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How often the round trip is measured.</summary>
    public TimeSpan PingEvery { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Payloads up to this size are hashed before they leave, longer ones while they do.</summary>
    internal int DigestFirstBytes { get; init; } = 1 << 16;

    /// <summary>Where time comes from.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;
}

/// <summary>A link to one peer over one connection of either transport.</summary>
public sealed class PeerLink : ITransportUser, ISessionHost
{
    enum CommandKind : byte { Send, Cancel, Grant, Answer, Request, Respond }

    struct Command
    {
        public CommandKind Kind;
        public Lane Lane;
        public ushort Status;
        public Answer Answer;
        public ulong Id;
        public Outgoing? Message;
        public Slot? Slot;
        public int BodyStart, BodyBytes; // in the bytes of the inbox
    }

    const int BodiesBytes = 4096;

    /// <summary>Bytes of one word at most: of a request, a response, or what is told.</summary>
    public const int WordBytesMax = ControlFrame.BodyBytesMax;

    /// <summary>Bytes of words that may wait for room among the control frames; more cost the peer its link.</summary>
    public const int WaitingBytesMax = 16 << 20;

    static readonly TimeSpan _tickEvery = TimeSpan.FromMilliseconds(100);

    readonly LinkOptions _options;
    readonly ILinkHandler _handler;
    readonly Session _session;
    readonly Lock _gate = new();
    readonly ConcurrentDictionary<ulong, TaskCompletionSource<Response>> _requests = new();
    readonly Stack<Outgoing> _spare = new();
    readonly Action<Outgoing> _recycle;
    readonly GoodputEstimate _goodput = new();
    Command[] _inbox = new Command[64], _draining = new Command[64];
    byte[] _inboxBodies = new byte[BodiesBytes], _drainingBodies = new byte[BodiesBytes];
    int _inboxCount, _inboxBodyBytes;
    int _drained, _drainingCount;
    bool _closed;
    volatile bool _tickWaits;
    ulong _lastRequest;
    long _nextPing;
    ITimer? _timer;

    /// <summary>A link that waits for its connection: hand it to Dial, or to <see cref="Admission.Accept"/>.</summary>
    public PeerLink(LinkOptions options, ILinkHandler handler)
    {
        (_options, _handler, _recycle) = (options, handler, Recycle);
        _session = new Session(this, options.Run, options.Window, Now);
    }

    /// <summary>The connection; null before it is there.</summary>
    public ITransportConnection? Connection { get; private set; }

    /// <summary>For whatever the layers above want to find again in their handler.</summary>
    public object? Tag { get; set; }

    /// <summary>What has been sent, received and measured.</summary>
    public LinkStatistics Statistics => new(
        _session.Sender.Counters, _session.Receiver.Counters, _session.RttNanoseconds, _goodput.BytesPerSecond,
        _session.Sender.Unfinished, Connection?.Statistics ?? default);

    /// <summary>Sends the first <see cref="MessageHeader.PayloadBytes"/> bytes of a slot. The task ends when the outcome is known
    /// and the slot may change again; await it once. Cancelling ends it too, but a message that has left whole may have been
    /// accepted.</summary>
    public unsafe ValueTask<Answer> SendAsync(in MessageHeader header, Slot slot, TimeSpan? deadline = null, CancellationToken cancellation = default)
    {
        if (header.PayloadBytes > slot.CapacityBytes)
            throw new ArgumentException($"The payload has {header.PayloadBytes} bytes, its slot {slot.CapacityBytes}.", nameof(header));
        slot.BeginRead();
        Outgoing message = Rent();
        // The digest of a large payload is computed while it leaves; a small one carries it in its header.
        bool isSmall = header.Digest.IsEmpty && header.PayloadBytes <= (ulong)_options.DigestFirstBytes;
        message.Reset(isSmall ? header with { Digest = Digest.Of(slot.Data, (nuint)header.PayloadBytes) } : header, slot, Now() + ((deadline ?? _options.AnswerWithin).Ticks * 100));
        var task = new ValueTask<Answer>(message, message.Version);
        message.Link = this;
        if (cancellation.CanBeCanceled)
            message.Cancellation = cancellation.UnsafeRegister(static (state, _) => ((Outgoing)state!).RequestCancel(), message);
        if (!Post(new Command { Kind = CommandKind.Send, Message = message }))
        {
            message.Outcome = new Answer(AnswerKind.LinkClosed);
            message.Finish();
        }
        return task;
    }

    /// <summary>Lets the peer fill a slot: one just rented, or one that it has filled and the handler is done with.</summary>
    public void Grant(Slot slot, Lane lane)
    {
        if (lane == Lane.Control) throw new ArgumentException("The control lane carries no payload.", nameof(lane));
        if (!Post(new Command { Kind = CommandKind.Grant, Slot = slot, Lane = lane })) slot.Pool.Return(slot);
    }

    /// <summary>The answer to a message whose handler returned Deferred.</summary>
    public void Answer(ulong id, Answer answer) => Post(new Command { Kind = CommandKind.Answer, Id = id, Answer = answer });

    /// <summary>Asks the peer something of at most 64 KiB. Ends with <see cref="IOException"/> if the link closes first and
    /// with <see cref="TimeoutException"/> if the peer takes too long.</summary>
    public async Task<Response> RequestAsync(ReadOnlyMemory<byte> body, TimeSpan timeout, CancellationToken cancellation = default)
    {
        CheckBody(body.Length);
        ulong id = Interlocked.Increment(ref _lastRequest);
        var response = new TaskCompletionSource<Response>(TaskCreationOptions.RunContinuationsAsynchronously);
        _requests[id] = response;
        try
        {
            if (!Post(new Command { Kind = CommandKind.Request, Id = id }, body.Span)) throw Gone();
            return await response.Task.WaitAsync(timeout, _options.Time, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _requests.TryRemove(id, out _);
        }
    }

    /// <summary>Says something of at most 64 KiB that needs no answer: a request under number 0, which nobody responds to. It
    /// arrives in order, once, or the link closes. The body is copied: it may change when this returns.</summary>
    public void Tell(ReadOnlySpan<byte> body)
    {
        CheckBody(body.Length);
        Post(new Command { Kind = CommandKind.Request, Id = 0 }, body);
    }

    /// <summary>Answers a request; what was told needs no answer and gets none.</summary>
    public void Respond(ulong id, ushort status, ReadOnlySpan<byte> body)
    {
        if (id == 0) return;
        CheckBody(body.Length);
        Post(new Command { Kind = CommandKind.Respond, Id = id, Status = status }, body);
    }

    /// <summary>Ends the connection, if it is there; the reason goes to the log of this side.</summary>
    public void Close(string reason) => Connection?.Close(reason);

    void ITransportUser.Opened(ITransportConnection connection)
    {
        Connection = connection;
        _timer = _options.Time.CreateTimer(static link => ((PeerLink)link!).PostTick(), this, _tickEvery, _tickEvery);
        connection.Wake();
    }

    void ITransportUser.Closed(ITransportConnection connection, CloseReason reason)
    {
        Connection ??= connection;
        _timer?.Dispose();
        LetGo(_drained, _drainingCount);
        (_drained, _drainingCount) = (0, 0);
        int count;
        lock (_gate)
        {
            _closed = true;
            (_inbox, _draining, count, _inboxCount) = (_draining, _inbox, _inboxCount, 0);
        }
        LetGo(0, count);
        _session.Release();
        foreach (TaskCompletionSource<Response> request in _requests.Values) request.TrySetException(Gone());
        _handler.Closed(this, reason);
    }

    unsafe nuint ILaneSource.Peek(Lane lane, out byte* data)
    {
        if (lane == Lane.Control) Drain();
        return _session.Peek(lane, out data);
    }

    void ILaneSource.Advance(Lane lane, nuint bytes) => _session.Advance(lane, bytes);

    void ILaneSource.Acknowledged(Lane lane, nuint bytes)
    {
        _session.Acknowledged(lane, bytes);
        if (_drained < _drainingCount) Connection?.Wake();
    }

    unsafe void ILaneSink.Receive(Lane lane, byte* data, nuint bytes)
    {
        _session.Receive(lane, data, bytes);
        if (_session.ControlWaits) Connection?.Wake();
    }

    Answer ISessionHost.Admit(in MessageHeader header) => _handler.Admit(this, header);

    Answer ISessionHost.Deliver(in MessageHeader header, Slot slot, ulong id) => _handler.Deliver(this, header, slot, id);

    void ISessionHost.Requested(ulong id, ReadOnlySpan<byte> body) => _handler.Requested(this, id, body);

    void ISessionHost.Responded(ulong id, ushort status, ReadOnlySpan<byte> body)
    {
        if (_requests.TryGetValue(id, out TaskCompletionSource<Response>? request)) request.TrySetResult(new Response(status, body.ToArray()));
    }

    void ISessionHost.Finished(Outgoing message) => message.Finish();

    void ISessionHost.Greeted() => _handler.Opened(this);

    internal void Cancel(Outgoing message) => Post(new Command { Kind = CommandKind.Cancel, Message = message });

    void PostTick()
    {
        _tickWaits = true;
        Connection?.Wake();
    }

    bool Post(in Command command, ReadOnlySpan<byte> body = default)
    {
        bool isTooMuch;
        lock (_gate)
        {
            if (_closed) return false;
            if (_inboxCount == _inbox.Length) Array.Resize(ref _inbox, 2 * _inboxCount);
            if (_inboxBodyBytes + body.Length > _inboxBodies.Length) Array.Resize(ref _inboxBodies, 2 * (_inboxBodyBytes + body.Length));
            body.CopyTo(_inboxBodies.AsSpan(_inboxBodyBytes));
            _inbox[_inboxCount++] = command with { BodyStart = _inboxBodyBytes, BodyBytes = body.Length };
            _inboxBodyBytes += body.Length;
            isTooMuch = _inboxBodyBytes > WaitingBytesMax;
        }
        if (isTooMuch) Connection?.Close($"more than {WaitingBytesMax} bytes of words wait for the peer, which reads too slowly or not at all");
        Connection?.Wake();
        return true;
    }

    // What this side says of itself (a placement to a peer, the token ids of a step) may come in bursts larger than the room for
    // control frames: it waits in its turn until the peer has acknowledged some. What the peer asked for does not wait.
    void Drain()
    {
        if (_tickWaits) Try(tick: true, default);
        if (_drained == _drainingCount)
        {
            lock (_gate)
            {
                if (_inboxCount == 0) return;
                (_inbox, _draining, _drainingCount, _inboxCount) = (_draining, _inbox, _inboxCount, 0);
                (_inboxBodies, _drainingBodies, _inboxBodyBytes) = (_drainingBodies, _inboxBodies, 0);
            }
            _drained = 0;
        }
        for (; _drained < _drainingCount; _drained++)
        {
            ref readonly Command command = ref _draining[_drained];
            if (command.Kind == CommandKind.Request && !_session.HasRoom(command.BodyBytes)) return;
            Try(tick: false, command);
        }
        Array.Clear(_draining, 0, _drainingCount);
    }

    void Try(bool tick, in Command command)
    {
        try
        {
            if (tick) Tick();
            else Do(command);
        }
        catch (InvalidDataException violation)
        {
            // the rest is done all the same: the session must know of every send and slot, to let go of them when it closes
            Connection?.Close(violation.Message);
        }
    }

    // slots and sends join the session, which lets go of all it holds
    void LetGo(int from, int to)
    {
        for (int i = from; i < to; i++)
        {
            if (_draining[i].Kind is CommandKind.Send) _session.Sender.Queue(_draining[i].Message!);
            if (_draining[i].Kind is CommandKind.Grant) _draining[i].Slot!.Pool.Return(_draining[i].Slot!);
        }
        Array.Clear(_draining);
    }

    void Do(in Command command)
    {
        switch (command.Kind)
        {
            case CommandKind.Send: Send(command.Message!); break;
            case CommandKind.Cancel: _session.Sender.Cancel(command.Message!.Id, AnswerKind.Cancelled); break;
            case CommandKind.Grant: _session.Receiver.Grant(command.Slot!, command.Lane); break;
            case CommandKind.Answer: _session.Answer(command.Id, command.Answer); break;
            case CommandKind.Request: _session.Request(command.Id, BodyOf(command)); break;
            case CommandKind.Respond: _session.Respond(command.Id, command.Status, BodyOf(command)); break;
        }
    }

    ReadOnlySpan<byte> BodyOf(in Command command) => _drainingBodies.AsSpan(command.BodyStart, command.BodyBytes);

    void Send(Outgoing message)
    {
        _session.Sender.Queue(message);
        if (message.CancelRequested) _session.Sender.Cancel(message.Id, AnswerKind.Cancelled);
    }

    void Tick()
    {
        _tickWaits = false;
        long now = Now();
        _goodput.Sample(now, _session.Sender.Counters.SentPayloadBytes, _session.Sender.Unfinished > 0);
        if (_session.Tick(now, _options.Patience) is { } stalled) throw new InvalidDataException(stalled);
        if (now < _nextPing) return;
        _nextPing = now + (_options.PingEvery.Ticks * 100);
        _session.Ping();
    }

    long Now() => _options.Time.GetElapsedTime(0).Ticks * 100;

    Outgoing Rent()
    {
        lock (_spare) return _spare.TryPop(out Outgoing? message) ? message : new Outgoing(_recycle);
    }

    void Recycle(Outgoing message)
    {
        lock (_spare) _spare.Push(message);
    }

    static void CheckBody(int bytes)
    {
        if (bytes > ControlFrame.BodyBytesMax) throw new ArgumentException($"A request or response carries at most {ControlFrame.BodyBytesMax} bytes; got {bytes}. Send a message instead.");
    }

    IOException Gone() => new($"The link to {Connection?.RemoteNodeId.Short ?? "the peer"} is closed.");
}
