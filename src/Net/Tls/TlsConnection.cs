// One link over several TCP connections. The control lane has stripe 0 to itself; the data lanes share the others, chunk by
// chunk, each chunk with its place in its lane. The receiver puts the chunks of a lane in order and acknowledges how far it
// came; the source's memory is free only then. If one stripe breaks, the link ends: a retry is the business of those above.
// Invariant: at most ChunksMax chunks are on their way, wait for an earlier one or for the loop, so a peer can make this side
// keep ChunksMax chunks and no more. All of this runs on the endpoint's loop.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Tls;

sealed unsafe class TlsConnection(TlsEndpoint endpoint, UInt128 number, bool isDialler, IPEndPoint address, NodeId peer) : ITransportConnection
{
    /// <summary>Chunks on their way at once: 64 MiB of full ones.</summary>
    public const int ChunksMax = 1024;

    // Frames that were read and not yet handled. An honest peer has ChunksMax chunks under way, one Ack at most for each of
    // ours, and little else, however late this side's loop is.
    const int FramesMax = 4 * ChunksMax;

    const int LaneCount = 4;
    static readonly TimeSpan _byeTakes = TimeSpan.FromMilliseconds(100);

    readonly List<TlsStripe> _stripes = [];
    readonly ulong[] _sent = new ulong[LaneCount], _acknowledged = new ulong[LaneCount];
    readonly ulong[] _received = new ulong[LaneCount], _reported = new ulong[LaneCount];
    readonly Queue<ulong>[] _underway = [new(), new(), new(), new()];
    readonly Dictionary<ulong, Chunk>[] _early = [[], [], [], []];
    int _underwayCount, _woken, _framesWaiting, _chunksHeld;
    long _heardAt, _spokeAt;
    bool _heard, _pulse;
    CloseReason? _failure;
    long _failedAt;
    ITransportUser? _user;
    TransportStatistics _statistics;
    long _sentFrames, _sentBytes, _receivedFrames, _receivedBytes;

    public TransportKind Kind => TransportKind.Tcp;

    public NodeId RemoteNodeId => peer;

    public IPEndPoint RemoteAddress => address;

    public bool IsDialler => isDialler;

    public TransportStatistics Statistics => _statistics with
    {
        SentPackets = Volatile.Read(ref _sentFrames),
        SentBytes = Volatile.Read(ref _sentBytes),
        ReceivedPackets = Volatile.Read(ref _receivedFrames),
        ReceivedBytes = Volatile.Read(ref _receivedBytes),
    };

    public UInt128 Number => number;

    public bool IsOpen { get; private set; }

    public bool IsClosed { get; private set; }

    public bool IsDirty { get; set; }

    public int StripeCount => _stripes.Count;

    public void Wake()
    {
        if (Interlocked.Exchange(ref _woken, 1) == 0) endpoint.Post(new LoopNote(LoopNoteKind.Wake, this));
    }

    public void Close(string reason) => endpoint.Post(new LoopNote(LoopNoteKind.Close, this, Reason: new CloseReason(CloseKind.Local, reason)));

    public void Woken() => Volatile.Write(ref _woken, 0);

    /// <summary>The user's, before the connection is open; Closed is promised from here on.</summary>
    public void Serve(ITransportUser user) => _user = user;

    public void Open(long now)
    {
        (IsOpen, IsDirty) = (true, true);
        (_heardAt, _spokeAt) = (now, now);
        _user!.Opened(this);
    }

    public void Attach(TlsStripe stripe)
    {
        _stripes.Add(stripe);
        _stripes.Sort(static (a, b) => a.Index - b.Index);
        IsDirty = true;
        stripe.Start();
    }

    public bool Has(int index) => _stripes.Exists(stripe => stripe.Index == index);

    /// <summary>A stripe has read a frame's header, on its own task. Throws if the peer sends more than it may.</summary>
    public void Expect(TlsFrame frame)
    {
        if (Interlocked.Increment(ref _framesWaiting) > FramesMax) throw new InvalidDataException($"more than {FramesMax} frames came at once, the last of type {frame.Type}");
        if (frame.Type == TlsFrameType.Data && Interlocked.Increment(ref _chunksHeld) > ChunksMax)
            throw new InvalidDataException($"more than {ChunksMax} chunks came ahead of what was acknowledged");
    }

    public void HandleFrame(TlsFrame frame, Chunk? chunk, long now)
    {
        Interlocked.Decrement(ref _framesWaiting);
        (_heard, _heardAt) = (true, now);
        _receivedFrames++;
        _receivedBytes += TlsFrame.Bytes + frame.BodyBytes;
        switch (frame.Type)
        {
            case TlsFrameType.Data: HandleData(chunk!); break;
            case TlsFrameType.Ack: HandleAck(frame); break;
            case TlsFrameType.Bye: End(ByeReason((ByeStatus)frame.Status), null); break;
        }
    }

    void HandleData(Chunk chunk)
    {
        int lane = chunk.Frame.Lane;
        if (chunk.Frame.Value != _received[lane])
        {
            if (chunk.Frame.Value > _received[lane] && _early[lane].TryAdd(chunk.Frame.Value, chunk)) return;
            endpoint.ReturnChunk(chunk);
            throw new InvalidDataException($"lane {(Lane)lane} stands at {_received[lane]}; a chunk came again for {chunk.Frame.Value}");
        }
        Deliver(lane, chunk);
        while (_early[lane].Remove(_received[lane], out Chunk? next))
        {
            Deliver(lane, next);
        }
        IsDirty = true;
    }

    void Deliver(int lane, Chunk chunk)
    {
        try
        {
            fixed (byte* data = chunk.Body) _user!.Receive((Lane)lane, data, (nuint)chunk.Frame.BodyBytes);
            _received[lane] += (ulong)chunk.Frame.BodyBytes;
            Interlocked.Decrement(ref _chunksHeld);
        }
        finally
        {
            endpoint.ReturnChunk(chunk);
        }
    }

    void HandleAck(TlsFrame frame)
    {
        int lane = frame.Lane;
        if (frame.Value > _sent[lane]) throw new InvalidDataException($"an Ack names byte {frame.Value} of lane {(Lane)lane}; {_sent[lane]} were sent");
        if (frame.Value <= _acknowledged[lane]) return; // overtaken: it came over the stripe that was first before stripe 0 was there
        while (_underway[lane].TryPeek(out ulong end) && end <= frame.Value)
        {
            _underway[lane].Dequeue();
            _underwayCount--;
        }
        ulong bytes = frame.Value - _acknowledged[lane];
        _acknowledged[lane] = frame.Value;
        _user!.Acknowledged((Lane)lane, (nuint)bytes);
        IsDirty = true;
    }

    /// <summary>Gives every free buffer something to carry.</summary>
    public void Turn(long now)
    {
        IsDirty = false;
        if (!IsOpen || IsClosed) return;
        // the user hears its commands and its clock here, also when a peer that does not read holds every buffer
        _user!.Peek(Lane.Control, out _);
        foreach (TlsStripe stripe in _stripes)
        {
            while (stripe.Free.TryPeek(out SendBuffer? buffer))
            {
                buffer.Bytes = 0;
                Fill(stripe, buffer);
                if (buffer.Bytes == 0) break;
                stripe.Free.Pop();
                _spokeAt = now;
                _sentBytes += buffer.Bytes;
                stripe.Send(buffer);
            }
        }
    }

    void Fill(TlsStripe stripe, SendBuffer buffer)
    {
        bool isFirst = stripe == _stripes[0], isOnly = _stripes.Count == 1;
        if (isFirst) FillAcks(buffer);
        for (int lane = isFirst ? 0 : 1; lane < (isFirst && !isOnly ? 1 : LaneCount); lane++)
        {
            while (buffer.Data.Length - buffer.Bytes > TlsFrame.Bytes && _underwayCount < ChunksMax)
            {
                nuint shown = _user!.Peek((Lane)lane, out byte* data);
                if (shown == 0) break;
                int bytes = (int)Math.Min(shown, (nuint)(buffer.Data.Length - buffer.Bytes - TlsFrame.Bytes));
                Add(buffer, new TlsFrame(TlsFrameType.Data, (byte)lane, 0, bytes, _sent[lane]));
                new ReadOnlySpan<byte>(data, bytes).CopyTo(buffer.Data.AsSpan(buffer.Bytes));
                buffer.Bytes += bytes;
                _sent[lane] += (ulong)bytes;
                _underway[lane].Enqueue(_sent[lane]);
                _underwayCount++;
                _user.Advance((Lane)lane, (nuint)bytes);
            }
        }
    }

    void FillAcks(SendBuffer buffer)
    {
        for (int lane = 0; lane < LaneCount; lane++)
        {
            if (_reported[lane] == _received[lane]) continue;
            _reported[lane] = _received[lane];
            Add(buffer, new TlsFrame(TlsFrameType.Ack, (byte)lane, 0, 0, _received[lane]));
        }
        if (!_pulse) return;
        _pulse = false;
        Add(buffer, new TlsFrame(TlsFrameType.Alive, 0, 0, 0, 0));
    }

    void Add(SendBuffer buffer, TlsFrame frame)
    {
        frame.Encode(buffer.Data.AsSpan(buffer.Bytes));
        buffer.Bytes += TlsFrame.Bytes;
        _sentFrames++;
    }

    /// <summary>A few times a second: who is silent, who must speak, what the kernel knows.</summary>
    public void Tick(long now)
    {
        if (!IsOpen) return;
        if (_failure is not null && now - _failedAt > _byeTakes.Ticks)
        {
            End(_failure, null);
            return;
        }
        if (now - _heardAt > endpoint.Options.IdleTimeout.Ticks)
        {
            End(new CloseReason(CloseKind.Idle, $"nothing was heard from {peer.Short} for {endpoint.Options.IdleTimeout.TotalSeconds} s"), null);
            return;
        }
        if (now - _spokeAt > endpoint.Options.KeepAlive.Ticks) (_pulse, IsDirty) = (true, true);
        _statistics = TcpInfo.Sum(_stripes, _statistics);
    }

    public void HandleFailure(Exception failure, long now)
    {
        CloseReason reason = failure switch
        {
            InvalidDataException => new CloseReason(CloseKind.Protocol, failure.Message),
            _ when !_heard && isDialler => new CloseReason(CloseKind.Refused, $"{peer.Short} did not accept this node ({failure.Message})"),
            _ => new CloseReason(CloseKind.Reset, $"a stripe to {peer.Short} broke: {failure.Message}"),
        };
        if (reason.Kind == CloseKind.Protocol) End(reason, ByeStatus.Violation);
        else HandleFailure(reason, now);
    }

    /// <summary>A stripe broke or could not be had. If others still stand, a Bye may be on its way over them and say it better.</summary>
    public void HandleFailure(CloseReason reason, long now)
    {
        if (!IsOpen) End(reason, null);
        else (_failure, _failedAt) = (_failure ?? reason, _failure is null ? now : _failedAt);
    }

    /// <summary>Ends the connection; says why to the peer if it can be told.</summary>
    public void End(CloseReason reason, ByeStatus? bye)
    {
        if (IsClosed) return;
        IsClosed = true;
        bool told = bye is { } status && Say((ushort)status);
        foreach (TlsStripe stripe in _stripes)
        {
            // the other stripes must not end before the Bye has arrived: the peer would take it for a failure
            if (told) TlsEndpoint.DisposeLater(stripe);
            else stripe.Dispose();
        }
        foreach (Dictionary<ulong, Chunk> early in _early)
        {
            foreach (Chunk chunk in early.Values) endpoint.ReturnChunk(chunk);
            early.Clear();
        }
        endpoint.Forget(this);
        string? counted = isDialler && !IsOpen && reason.Kind != CloseKind.Local ? endpoint.DialFailures.Failed(peer, reason.Text, TlsEndpoint.Nanoseconds())
            : IsOpen || isDialler || endpoint.TellsRefusal(address) ? "" : null;
        if (counted is not null) endpoint.Log($"tcp {peer.Short} at {address}: closed ({reason.Kind}): {reason.Text}{counted}");
        _user?.Closed(this, reason);
    }

    bool Say(ushort status)
    {
        if (_stripes.Count == 0 || !_stripes[0].Free.TryPop(out SendBuffer? buffer)) return false;
        buffer.Bytes = 0;
        Add(buffer, new TlsFrame(TlsFrameType.Bye, 0, status, 0, 0));
        _stripes[0].Send(buffer);
        return true;
    }

    CloseReason ByeReason(ByeStatus status) => status switch
    {
        ByeStatus.Done => new CloseReason(CloseKind.Remote, $"{peer.Short} closed the connection"),
        ByeStatus.Refused => new CloseReason(CloseKind.Refused, $"{peer.Short} did not accept this node"),
        _ => new CloseReason(CloseKind.Protocol, $"{peer.Short} says that this side broke the rules"),
    };
}
