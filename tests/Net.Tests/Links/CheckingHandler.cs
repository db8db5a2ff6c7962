// The receiving side of a test: grants slots, checks each payload against its seed, counts, and remembers what came.
using System.Collections.Concurrent;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Links;

sealed class CheckingHandler : ILinkHandler
{
    readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource<CloseReason> _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ConcurrentDictionary<uint, int> Seen { get; } = new();

    public ConcurrentQueue<string> Wrong { get; } = new();

    public Func<MessageHeader, Answer> OnDeliver { get; set; } = static _ => Answer.Accepted;

    public Task Opened => _opened.Task;

    public Task<CloseReason> Closed => _closed.Task;

    /// <summary>Fills a payload so that its receiver can tell every message and every offset apart.</summary>
    public static void Fill(Span<byte> payload, uint microbatch) => new Random((int)microbatch).NextBytes(payload);

    void ILinkHandler.Opened(PeerLink link) => _opened.TrySetResult();

    Answer ILinkHandler.Admit(PeerLink link, in MessageHeader header) => Answer.Accepted;

    Answer ILinkHandler.Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
    {
        byte[] expected = new byte[header.PayloadBytes];
        Fill(expected, header.Microbatch);
        if (!slot.Span(expected.Length).SequenceEqual(expected)) Wrong.Enqueue($"message {header.Microbatch} differs");
        Answer answer = OnDeliver(header);
        if (answer.Kind == AnswerKind.Accepted)
        {
            Seen.AddOrUpdate(header.Microbatch, 1, static (_, n) => n + 1);
            link.Grant(slot, header.Lane);
        }
        return answer;
    }

    void ILinkHandler.Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body) => link.Respond(id, 1, body);

    void ILinkHandler.Closed(PeerLink link, CloseReason reason) => _closed.TrySetResult(reason);
}
