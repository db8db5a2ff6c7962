// The seam between messages (Framing) and transports (Quic, Tls).
// A lane is an ordered, reliable byte sequence inside one connection; there is one per message class, served in the order
// of its number, so a code gradient overtakes a checkpoint. A transport carries lanes and knows no messages; Framing cuts
// messages into lanes and knows no sockets. Bytes offered by a source stay at their address until they are acknowledged.
namespace OrionNative.Net.Framing;

/// <summary>A lane of a connection; a lower value goes first.</summary>
public enum Lane : byte
{
    /// <summary>Answers, slot grants, cancellations.</summary>
    Control = 0,

    /// <summary>Code gradients.</summary>
    Backward = 1,

    /// <summary>Codes.</summary>
    Forward = 2,

    /// <summary>Weights, checkpoints, pseudo-gradients.</summary>
    Bulk = 3,
}

/// <summary>What a transport sends. Called on the transport's loop thread only.</summary>
public unsafe interface ILaneSource
{
    /// <summary>The next unsent bytes of a lane, or 0. The memory at <paramref name="data"/> keeps its address and its
    /// content until <see cref="Acknowledged"/> has covered it.</summary>
    nuint Peek(Lane lane, out byte* data);

    /// <summary>The transport took the first <paramref name="bytes"/> of what <see cref="Peek"/> showed.</summary>
    void Advance(Lane lane, nuint bytes);

    /// <summary>The other side's transport holds <paramref name="bytes"/> more of the lane, in order.</summary>
    void Acknowledged(Lane lane, nuint bytes);
}

/// <summary>Where a transport delivers. Called on the transport's loop thread only, in order, each byte once.</summary>
public unsafe interface ILaneSink
{
    /// <summary>Takes <paramref name="bytes"/> of a lane; the memory is the transport's and is reused after the call.
    /// A violation of the framing throws <see cref="System.IO.InvalidDataException"/>: the transport closes the connection
    /// with that reason.</summary>
    void Receive(Lane lane, byte* data, nuint bytes);
}
