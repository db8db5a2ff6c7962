// Two links joined by memory instead of a network, pumped by the test's own thread. Pieces, order between lanes and the time of
// acknowledgements come from a seed. When bytes are acknowledged they are compared with what was sent: a source that
// changed memory too early (a retransmission would have read garbage) fails the test.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Tests.Framing;

sealed unsafe class MemoryWire
{
    readonly Random _random;
    readonly bool _checksMemory;

    public MemoryWire(ITransportUser a, ITransportUser b, int seed = 1, bool checksMemory = true)
    {
        _random = new Random(seed);
        _checksMemory = checksMemory;
        (A, B) = (new Side(a), new Side(b));
        a.Opened(A);
        b.Opened(B);
    }

    public Side A { get; }

    public Side B { get; }

    public int PieceBytesMax { get; set; } = 70_000;

    /// <summary>Keeps acknowledgements back while false.</summary>
    public bool Acknowledges { get; set; } = true;

    /// <summary>Bytes of a lane that A gives away in one round; fewer make messages last.</summary>
    public Func<byte[], byte[]>? FromA { get; set; }

    /// <summary>Moves bytes until nothing moves, or until the condition holds.</summary>
    public void Pump(Func<bool>? until = null, int rounds = 200_000)
    {
        for (int i = 0; i < rounds; i++)
        {
            if (until?.Invoke() == true) return;
            if (!Round()) return;
        }
    }

    public bool Round() => Move(A, B, FromA) | Move(B, A, null);

    public void Close(CloseKind kind = CloseKind.Remote, string text = "test")
    {
        A.End(kind, text);
        B.End(kind, text);
    }

    bool Move(Side from, Side to, Func<byte[], byte[]>? change)
    {
        if (from.IsClosed || to.IsClosed) return false;
        bool moved = false;
        for (Lane lane = Lane.Control; lane <= Lane.Bulk; lane++)
        {
            nuint shown = from.User.Peek(lane, out byte* data);
            if (shown > 0)
            {
                int take = (int)Math.Min(shown, (nuint)_random.Next(1, PieceBytesMax));
                byte[] piece = new ReadOnlySpan<byte>(data, take).ToArray();
                from.User.Advance(lane, (nuint)take);
                from.Unacknowledged[(int)lane].Enqueue((piece, (nint)data));
                if (change is not null) piece = change(piece);
                to.Deliver(lane, piece);
                if (to.IsClosed) from.End(CloseKind.Remote, "the other side closed");
                moved = true;
            }
            if (!Acknowledges || from.IsClosed) continue;
            Queue<(byte[] Copy, nint Data)> waiting = from.Unacknowledged[(int)lane];
            while (waiting.Count > 0 && (shown == 0 || _random.Next(3) == 0))
            {
                (byte[] copy, nint address) = waiting.Dequeue();
                if (_checksMemory && !new ReadOnlySpan<byte>((byte*)address, copy.Length).SequenceEqual(copy))
                    throw new InvalidOperationException($"memory of lane {lane} changed before it was acknowledged");
                from.User.Acknowledged(lane, (nuint)copy.Length);
                moved = true;
            }
        }
        return moved;
    }

    public sealed class Side(ITransportUser user) : ITransportConnection
    {
        public ITransportUser User { get; } = user;

        public Queue<(byte[] Copy, nint Data)>[] Unacknowledged { get; } = [new(), new(), new(), new()];

        public bool IsClosed { get; private set; }

        public CloseReason? Reason { get; private set; }

        public TransportKind Kind => TransportKind.Tcp;

        public NodeId RemoteNodeId => default;

        public IPEndPoint RemoteAddress { get; } = new(IPAddress.Loopback, 1);

        public bool IsDialler => true;

        public TransportStatistics Statistics => default;

        public void Wake() { }

        public void Close(string reason) => Reason ??= new CloseReason(CloseKind.Protocol, reason);

        public void Deliver(Lane lane, byte[] bytes)
        {
            try
            {
                fixed (byte* data = bytes) User.Receive(lane, data, (nuint)bytes.Length);
            }
            catch (InvalidDataException violation)
            {
                End(CloseKind.Protocol, violation.Message);
                return;
            }
            if (Reason is not null) End(Reason.Kind, Reason.Text);
        }

        public void End(CloseKind kind, string text)
        {
            if (IsClosed) return;
            IsClosed = true;
            Reason ??= new CloseReason(kind, text);
            User.Closed(this, Reason);
        }
    }
}
