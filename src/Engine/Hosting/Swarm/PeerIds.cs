// The same 32 bytes under two names: NodeId at the network's edge, PeerId in the cores.
using OrionNative.Engine.Run;
using OrionNative.Net.Identity;

namespace OrionNative.Engine.Hosting.Swarm;

static class PeerIds
{
    public static PeerId ToPeerId(this NodeId node)
    {
        Span<byte> bytes = stackalloc byte[32];
        node.CopyTo(bytes);
        return new PeerId(bytes);
    }

    public static NodeId ToNodeId(this PeerId peer)
    {
        Span<byte> bytes = stackalloc byte[32];
        peer.CopyTo(bytes);
        return new NodeId(bytes);
    }

    /// <summary>The run's number on every link: the orchestrator's identity names its run.</summary>
    public static UInt128 RunOf(NodeId orchestrator)
    {
        Span<byte> bytes = stackalloc byte[32];
        orchestrator.CopyTo(bytes);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(bytes);
    }
}
