// The other side of a link measurement: accepts measuring peers over the transports it was given, a bounded number at a time.
using System.Collections.Concurrent;
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Links;

/// <summary>Serves link measurements until disposed.</summary>
public sealed class LinkServer : IDisposable
{
    const int PeersMax = 16;

    readonly ConcurrentDictionary<ProbePeer, byte> _peers = new();
    readonly List<ITransportEndpoint> _endpoints = [];
    readonly Func<NodeId, bool> _allows;
    readonly MeterOptions _options;

    /// <summary>Listens on one address with each transport; port 0 takes a free one, the same for all.</summary>
    public LinkServer(NodeIdentity identity, IPEndPoint listen, IEnumerable<TransportKind> transports, Func<NodeId, bool> allows, MeterOptions options, Action<string>? log)
    {
        (_allows, _options) = (allows, options);
        try
        {
            foreach (TransportKind kind in transports)
            {
                _endpoints.Add(LinkMeter.Endpoint(kind, identity, listen, Admit, log));
                listen = new IPEndPoint(listen.Address, _endpoints[^1].LocalAddress.Port);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
        Address = listen;
    }

    /// <summary>Where it listens.</summary>
    public IPEndPoint Address { get; }

    /// <summary>Links that are open now.</summary>
    public IEnumerable<PeerLink> Links => _peers.Keys.Select(static peer => peer.Link);

    Admission Admit(ITransportConnection connection)
    {
        if (!_allows(connection.RemoteNodeId)) return Admission.Refuse("it is not on the list of those who may measure");
        if (_peers.Count >= PeersMax) return Admission.Refuse($"{PeersMax} peers measure already");
        var peer = new ProbePeer(_options.MessageBytes, _options.Depth);
        _peers.TryAdd(peer, 0);
        _ = peer.Closed.ContinueWith(_ => Forget(peer), TaskScheduler.Default);
        return Admission.Accept(peer.Link);
    }

    void Forget(ProbePeer peer)
    {
        if (_peers.TryRemove(peer, out _)) peer.Dispose();
    }

    /// <summary>Closes all links.</summary>
    public void Dispose()
    {
        foreach (ITransportEndpoint endpoint in _endpoints) endpoint.Dispose();
    }
}
