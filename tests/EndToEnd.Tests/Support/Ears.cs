// Who connects to a swarm without being part of it: hears when the link opens and ends and what it is told, and takes no payload.
using System.Collections.Concurrent;
using OrionNative.Net.Framing;

namespace OrionNative.EndToEnd.Tests.Support;

sealed class Ears : ILinkHandler
{
    /// <summary>The link is open; fails with the reason if it ends before.</summary>
    public TaskCompletionSource Begin { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The link has ended.</summary>
    public TaskCompletionSource<CloseReason> End { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The requests of the other side.</summary>
    public ConcurrentQueue<byte[]> Heard { get; } = new();

    public void Opened(PeerLink link) => Begin.TrySetResult();

    public Answer Admit(PeerLink link, in MessageHeader header) => Answer.Refused(Refusal.Unexpected);

    public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id) => Answer.Refused(Refusal.Unexpected);

    public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body) => Heard.Enqueue(body.ToArray());

    public void Closed(PeerLink link, CloseReason reason)
    {
        Begin.TrySetException(new IOException(reason.Text));
        _ = Begin.Task.Exception;
        End.TrySetResult(reason);
    }
}
