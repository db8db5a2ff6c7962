// One link inside the UDP relay. A front socket faces the diallers; each dialler (by address) gets a back socket of its own
// towards the target, as behind a NAT: one that was quiet for long makes room for a newcomer. All diallers share the two
// directions, so two flows compete for one bottleneck.
// A refusal (ICMP: nobody holds that port) passes as it does through routers: where the target refuses, the front closes for
// a while and so refuses too; where a dialler refuses, its back socket closes.
using System.Net;
using OrionNative.Net.Quic;
using SocketAddress = OrionNative.Net.Quic.SocketAddress;

namespace OrionNative.Net.Links;

/// <summary>One dialler of a link.</summary>
sealed class RelayFlow(SocketAddress client, UdpSocket back)
{
    public readonly SocketAddress Client = client;
    public UdpSocket Back = back;
    public long UsedAt;
    public bool IsEnded;
}

sealed unsafe class UdpLink : EmulatedLink, IDisposable
{
    const int FlowsMax = 256;
    const long RefusesFor = 300_000_000, QuietFor = 60_000_000_000;

    /// <summary>One way through the link.</summary>
    sealed class Direction(LinkShaper shaper, LinkTally tally)
    {
        public readonly LinkShaper Shaper = shaper;
        public readonly DelayLine Line = new();
        public readonly LinkTally Tally = tally;
    }

    UdpSocket? _front;
    long _opensAt;
    readonly List<RelayFlow> _flows = [];
    readonly PacketMemory _memory = new(UdpRelay.PieceBytes, UdpRelay.PiecesMax);
    readonly PacketMemory _large = new(ushort.MaxValue + 1, 1024);
    readonly Direction _up, _down;
    readonly Action<Action> _post;
    readonly Action<string>? _log;
    readonly List<int> _descriptors = [];
    SocketAddress _target;

    public UdpLink(IPEndPoint listen, IPEndPoint target, LinkProfile profile, int seed, UdpLink? bottleneck, Action<Action> post, Action<string>? log)
        : this(new UdpSocket(listen, segmentOffload: true, log, hearsRefusals: true), target, profile, seed, bottleneck, post, log) { }

    UdpLink(UdpSocket front, IPEndPoint target, LinkProfile profile, int seed, UdpLink? bottleneck, Action<Action> post, Action<string>? log)
        : base(front.Address.ToEndPoint(), target, profile)
    {
        (_front, _post, _log) = (front, post, log);
        _up = new Direction(bottleneck?._up.Shaper ?? new LinkShaper(seed), Up);
        _down = new Direction(bottleneck?._down.Shaper ?? new LinkShaper(~seed), Down);
        _target = SocketAddress.Of(target);
        _descriptors.Add(front.Descriptor);
    }

    public List<int> Descriptors => _descriptors;

    /// <summary>Something waits at a socket, or may.</summary>
    public bool IsReady { get => field || _front is null; set; } = true;

    /// <summary>The shorter of the two delays.</summary>
    public long DelayNanoseconds => Math.Min(Profile.Up.Delay.Ticks, Profile.Down.Delay.Ticks) * 100;

    public override void ChangeSourcePort() => _post(() =>
    {
        foreach (RelayFlow flow in _flows)
        {
            _descriptors.Remove(flow.Back.Descriptor);
            flow.Back.Dispose();
            flow.Back = Back();
        }
    });

    /// <summary>Reads what waits at the sockets; true if something came or is on its way.</summary>
    public bool Receive(long now)
    {
        if (_front is null && now >= _opensAt) Open(now);
        bool any = false;
        for (int i = 0; _front is not null && i < UdpRelay.BatchesMax && _front.Receive(out byte* data, out int bytes, out int segment); i++)
        {
            any = true;
            if (FlowOf(_front.Peer, now) is { } flow) Take(_up, Profile.Up, flow, data, bytes, segment, now);
        }
        foreach (RelayFlow flow in _flows)
        {
            for (int i = 0; i < UdpRelay.BatchesMax && flow.Back.Receive(out byte* data, out int bytes, out int segment); i++)
            {
                any = true;
                flow.UsedAt = now;
                Take(_down, Profile.Down, flow, data, bytes, segment, now);
            }
        }
        HearRefusals(now);
        return any || _up.Line.Count + _down.Line.Count > 0;
    }

    /// <summary>Sends what has arrived by now, in runs of equal datagrams of one flow; true if anything is left.</summary>
    public bool Release(long now, byte* batch)
    {
        Release(_up, now, batch);
        Release(_down, now, batch);
        return _up.Line.Count + _down.Line.Count > 0;
    }

    void HearRefusals(long now)
    {
        bool isTargetGone = false;
        foreach (RelayFlow flow in _flows)
        {
            while (flow.Back.HasErrors && flow.Back.TryReadRefusal(out SocketAddress refuser)) isTargetGone |= refuser.SameAs(_target);
        }
        while (_front is { HasErrors: true } && _front.TryReadRefusal(out SocketAddress client))
        {
            foreach (RelayFlow gone in _flows.FindAll(flow => flow.Client.SameAs(client))) End(gone);
        }
        if (!isTargetGone || _front is null) return;
        _descriptors.Remove(_front.Descriptor);
        _front.Dispose();
        (_front, _opensAt) = (null, now + RefusesFor);
        foreach (RelayFlow flow in _flows.ToArray()) End(flow);
    }

    void End(RelayFlow flow)
    {
        flow.IsEnded = true;
        _flows.Remove(flow);
        _descriptors.Remove(flow.Back.Descriptor);
        flow.Back.Dispose();
    }

    void Open(long now)
    {
        try
        {
            _front = new UdpSocket(Address, segmentOffload: true, _log, hearsRefusals: true);
            _descriptors.Add(_front.Descriptor);
        }
        catch (IOException error)
        {
            _opensAt = now + RefusesFor;
            _log?.Invoke($"the link at {Address} cannot open again: {error.Message}");
        }
    }

    void Take(Direction direction, LinkConditions conditions, RelayFlow flow, byte* data, int bytes, int segment, long now)
    {
        for (int at = 0; at < bytes; at += segment)
        {
            int length = Math.Min(segment, bytes - at);
            Fate fate = direction.Shaper.Offer(conditions, now, length, out long arrives, out long copyArrives);
            if (fate is Fate.Pass or Fate.Late && !Keep(direction, flow, data + at, length, arrives, fate == Fate.Late)) fate = Fate.Overflow;
            direction.Tally.Count(fate, copyArrives > 0);
            if (copyArrives > 0) Keep(direction, flow, data + at, length, copyArrives, late: true);
        }
    }

    bool Keep(Direction direction, RelayFlow flow, byte* data, int bytes, long arrives, bool late)
    {
        if (!(bytes <= UdpRelay.PieceBytes ? _memory : _large).TryRent(out byte* piece)) return false;
        Buffer.MemoryCopy(data, piece, bytes, bytes);
        direction.Line.Add(new Packet { Data = piece, Bytes = bytes, Arrives = arrives, Flow = flow }, late);
        return true;
    }

    void Release(Direction direction, long now, byte* batch)
    {
        RelayFlow? flow = null;
        int used = 0, segment = 0, count = 0;
        while (direction.Line.TryTake(now, out Packet packet))
        {
            bool joins = packet.Flow == flow && packet.Bytes <= segment && used % segment == 0 && used + packet.Bytes <= UdpSocket.BatchBytesMax && count < UdpSocket.BatchSegmentsMax;
            if (!joins)
            {
                Send(direction, flow, batch, used, segment);
                (flow, used, segment, count) = (packet.Flow, 0, packet.Bytes, 0);
            }
            Buffer.MemoryCopy(packet.Data, batch + used, packet.Bytes, packet.Bytes);
            used += packet.Bytes;
            count++;
            direction.Tally.Arrived(packet.Bytes);
            (packet.Bytes <= UdpRelay.PieceBytes ? _memory : _large).Return(packet.Data);
        }
        Send(direction, flow, batch, used, segment);
    }

    // A full socket buffer loses the datagrams, as a full interface queue would.
    void Send(Direction direction, RelayFlow? flow, byte* batch, int bytes, int segment)
    {
        if (bytes == 0 || flow!.IsEnded) return;
        if (direction == _up) flow!.Back.Send(batch, bytes, segment, _target);
        else _front?.Send(batch, bytes, segment, flow!.Client);
    }

    RelayFlow? FlowOf(in SocketAddress client, long now)
    {
        RelayFlow? flow = null, quietest = null;
        foreach (RelayFlow known in _flows)
        {
            if (known.Client.SameAs(client)) flow = known;
            if (quietest is null || known.UsedAt < quietest.UsedAt) quietest = known;
        }
        if (flow is null)
        {
            if (_flows.Count == FlowsMax && now - quietest!.UsedAt < QuietFor) return null;
            if (_flows.Count == FlowsMax) End(quietest!);
            _flows.Add(flow = new RelayFlow(client, Back()));
        }
        flow.UsedAt = now;
        return flow;
    }

    UdpSocket Back()
    {
        var any = new IPEndPoint(Target.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? IPAddress.IPv6Any : IPAddress.Any, 0);
        var back = new UdpSocket(any, segmentOffload: true, _log, hearsRefusals: true);
        _descriptors.Add(back.Descriptor);
        return back;
    }

    /// <summary>The relay's, on its loop, once.</summary>
    public void Dispose()
    {
        _front?.Dispose();
        foreach (RelayFlow flow in _flows) flow.Back.Dispose();
        _memory.Free();
        _large.Free();
    }
}
