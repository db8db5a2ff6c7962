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

    /// <summary>Tells senders apart in message headers, whose identity does not name the sender: several replicas send pieces of
    /// equal number to one receiver, which would take the later ones for copies.</summary>
    public static uint Mark(this PeerId peer)
    {
        Span<byte> bytes = stackalloc byte[32];
        peer.CopyTo(bytes);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    /// <summary>The run's number on every link: the orchestrator's identity names its run.</summary>
    public static UInt128 RunOf(NodeId orchestrator)
    {
        Span<byte> bytes = stackalloc byte[32];
        orchestrator.CopyTo(bytes);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt128BigEndian(bytes);
    }
}
