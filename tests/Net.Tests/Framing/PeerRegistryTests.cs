// Two connections a peer, the third refused, two addresses under one key reported.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.Net.Tests.Framing;

public class PeerRegistryTests
{
    readonly List<string> _lines = [];

    [Fact]
    public void ThirdConnection_OfOnePeer_IsRefusedUntilOneLeaves()
    {
        var registry = new PeerRegistry(_lines.Add);
        Known first = new(1, "10.0.0.1"), second = new(1, "10.0.0.1"), third = new(1, "10.0.0.1"), another = new(2, "10.0.0.1");
        Assert.True(registry.TryEnter(first, out _));
        Assert.True(registry.TryEnter(second, out _));
        Assert.False(registry.TryEnter(third, out string? refusal));
        Assert.Contains("the newest is refused", refusal);
        Assert.True(registry.TryEnter(another, out _));
        registry.Leave(first);
        Assert.True(registry.TryEnter(third, out _));
        Assert.Empty(_lines);
        registry.Leave(second);
        registry.Leave(third);
        Assert.Equal(1, registry.PeerCount);
    }

    [Fact]
    public void OneIdentity_AtTwoAddresses_IsNamedInTheLog()
    {
        var registry = new PeerRegistry(_lines.Add);
        Assert.True(registry.TryEnter(new Known(1, "10.0.0.1"), out _));
        Assert.True(registry.TryEnter(new Known(1, "10.0.0.2"), out _));
        Assert.Contains("two peers with one identity", Assert.Single(_lines));
    }

    sealed class Known(byte id, string address) : ITransportConnection
    {
        public TransportKind Kind => TransportKind.Tcp;

        public NodeId RemoteNodeId { get; } = new([.. Enumerable.Repeat(id, NodeId.Bytes)]);

        public IPEndPoint RemoteAddress { get; } = new(IPAddress.Parse(address), 1);

        public bool IsDialler => false;

        public TransportStatistics Statistics => default;

        public void Wake() { }

        public void Close(string reason) { }
    }
}
