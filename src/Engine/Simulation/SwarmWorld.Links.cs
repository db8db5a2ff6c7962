// Payloads over paced links, if the options ask for them; what the transport of a real host would tell of their way.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Simulation;

sealed partial class SwarmWorld
{
    readonly PacedLinks? _links;
    readonly Dictionary<int, Piece> _onUplink = [];
    readonly HashSet<(WorkKind Kind, WorkId Work)> _sentOnce = [];

    /// <summary>Payloads that were sent again, by whomever and to whomever.</summary>
    public int RepeatedPayloads { get; private set; }

    /// <summary>Codes and code gradients that were sent over paced links.</summary>
    public int Payloads { get; private set; }

    /// <summary>Who was removed, when and why.</summary>
    public List<(double Seconds, int Peer, string Reason)> Removals { get; } = [];

    /// <summary>What has come to a peer of shares.</summary>
    public long BulkBytesOf(int node) => _links?.BulkBytesTo(node) ?? 0;

    bool CanReach(int from, int to) =>
        _network.IsUp(from, to) && !_network.IsSilent(from, to, Now) && !_network.IsSilent(to, from, Now) && _peers[to] is { IsHung: false };

    void SendOverLink(PacedLinks links, int from, int to, bool isBulk, in Happening message)
    {
        if (!isBulk)
        {
            Payloads++;
            RepeatedPayloads += _sentOnce.Add((message.Message.Kind, message.Message.Work with { Epoch = 0, Attempt = 0 })) ? 0 : 1;
        }
        _network.Strays(from, to);
        links.Queue(from, to, isBulk, message);
        Pump(from);
    }

    void Pump(int from)
    {
        if (_links is null || _peers[from] is not { IsHung: false } || !_links.TryBegin(from, CanReach, out Piece piece))
            return;
        _onUplink[from] = piece;
        After(piece.Bytes / _links.Rates.UpBytesPerSecond, new Happening(HappeningKind.PieceLeft, from) { From = piece.To, Life = _lives[from], Connection = _network.Connection(from, piece.To) });
    }

    void PieceLeft(Happening next)
    {
        Piece piece = _onUplink[next.Node];
        Instant through = _links!.Left(next.Node, piece, Now);
        if (_network.Connection(next.Node, piece.To) == next.Connection && _network.IsUp(next.Node, piece.To))
        {
            TimeSpan delay = TimeSpan.FromSeconds(Options.RoundTripSeconds / 2);
            if (piece.Last is { } message)
                _queue.At(through + delay, message);
            long bytes = _links.Acknowledge(next.Node, piece);
            _queue.At(through + delay + delay, new Happening(HappeningKind.Acknowledged, next.Node)
            {
                From = piece.To,
                Life = next.Life,
                Connection = next.Connection,
                Payload = (ulong)bytes,
                Message = piece.Last?.Message ?? default,
            });
        }
        Pump(next.Node);
    }

    void Acknowledged(SimPeer peer, Happening next)
    {
        if (_network.Connection(next.Node, next.From) != next.Connection)
            return;
        var receiver = PeerId.FromNumber(next.From);
        peer.Core.Schedule.HandleAcknowledged(receiver, (long)next.Payload, Now);
        if (next.Message.Work != default)
            peer.Core.Schedule.HandleArrived(receiver, next.Message, Now);
    }
}
