// Who is connected now, by identity. A peer may hold two connections (both may have dialled at once); a third is refused, so
// that a copy of a stolen key cannot push the live peer out. Two addresses under one identity at the same time mean that two
// machines run with one key: nothing here can tell which is the right one, so both stay and the operator is told.
// Members may be used from any thread; transports ask inside Admit.
using System.Net;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Framing;

/// <summary>Counts connections per NodeId and refuses the newest beyond the limit.</summary>
public sealed class PeerRegistry(Action<string>? log = null, int connectionsPerPeer = 2)
{
    readonly Lock _gate = new();
    readonly Dictionary<NodeId, List<ITransportConnection>> _live = [];

    /// <summary>Peers with at least one connection.</summary>
    public int PeerCount
    {
        get
        {
            lock (_gate) return _live.Count;
        }
    }

    /// <summary>Lets a connection in, or says why not. Each success wants a <see cref="Leave"/> when the connection has closed.</summary>
    public bool TryEnter(ITransportConnection connection, out string? refusal)
    {
        refusal = null;
        IPAddress? other = null;
        lock (_gate)
        {
            if (!_live.TryGetValue(connection.RemoteNodeId, out List<ITransportConnection>? held)) _live.Add(connection.RemoteNodeId, held = []);
            if (held.Count >= connectionsPerPeer)
            {
                refusal = $"it holds {held.Count} connections already, from {string.Join(" and ", held.Select(static c => c.RemoteAddress))}; the newest is refused";
                return false;
            }
            other = held.Find(c => !c.RemoteAddress.Address.Equals(connection.RemoteAddress.Address))?.RemoteAddress.Address;
            held.Add(connection);
        }
        if (other is not null)
            log?.Invoke($"{connection.RemoteNodeId.Short} is live at {other} and at {connection.RemoteAddress.Address}: two peers with one identity? Fix: give one of them a key of its own");
        return true;
    }

    /// <summary>The connection has closed.</summary>
    public void Leave(ITransportConnection connection)
    {
        lock (_gate)
        {
            if (!_live.TryGetValue(connection.RemoteNodeId, out List<ITransportConnection>? held)) return;
            held.Remove(connection);
            if (held.Count == 0) _live.Remove(connection.RemoteNodeId);
        }
    }
}
