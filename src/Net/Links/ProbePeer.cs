// One end of a link measurement. Both ends grant slots for probes and count what arrives; the client asks the server, by small
// requests, to echo, to send for a while, or to tell its processor time. Payloads are random and their digests are computed
// for every message, as in a real run.
//   requests   'E' echo · 'S' + milliseconds (u32): send probes for so long, once at a time · 'U' usage: processor seconds of the process (f64)
using System.Buffers.Binary;
using System.Diagnostics;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Links;

/// <summary>Answers measurements and sends probes over one link.</summary>
sealed class ProbePeer : ILinkHandler, IDisposable
{
    /// <summary>Link measurements are a run of their own.</summary>
    public static readonly UInt128 Run = UInt128.Parse("4f52494f4e4c494e4b4c41420000", System.Globalization.NumberStyles.HexNumber);

    readonly PinnedPool _pool;
    readonly int _messageBytes, _depth;
    readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource<CloseReason> _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    Task _sending = Task.CompletedTask;
    int _next;
    long _receivedBytes, _firstAt, _lastAt;

    public ProbePeer(int messageBytes, int depth)
    {
        (_messageBytes, _depth) = (messageBytes, depth);
        _pool = new PinnedPool(new SlotClass((nuint)messageBytes, 2 * depth));
        Link = new PeerLink(new LinkOptions { Run = Run, Window = new DuplicateWindow(4096) }, this);
    }

    public PeerLink Link { get; }

    public Task Opened => _opened.Task;

    public Task<CloseReason> Closed => _closed.Task;

    public long ReceivedBytes => Volatile.Read(ref _receivedBytes);

    /// <summary>From the first to the last probe delivered since <see cref="Restart"/>.</summary>
    public TimeSpan ReceivedFor => Stopwatch.GetElapsedTime(Volatile.Read(ref _firstAt), Volatile.Read(ref _lastAt));

    public void Restart() => (_receivedBytes, _firstAt, _lastAt) = (0, 0, 0);

    /// <summary>Keeps probes under way for so long and waits for their answers; returns the payload bytes accepted.</summary>
    public async Task<long> SendAsync(TimeSpan duration, CancellationToken cancellation)
    {
        long began = Stopwatch.GetTimestamp();
        long[] bytes = await Task.WhenAll(Enumerable.Range(0, _depth).Select(_ => Lane())).ConfigureAwait(false);
        return bytes.Sum();

        async Task<long> Lane()
        {
            if (!_pool.TryRent((nuint)_messageBytes, out Slot slot)) throw new InvalidOperationException("another measurement holds the slots");
            long sent = 0;
            try
            {
                Random.Shared.NextBytes(slot.Span(_messageBytes));
                while (Stopwatch.GetElapsedTime(began) < duration)
                {
                    var header = new MessageHeader
                    {
                        Run = Run,
                        Microbatch = (uint)Interlocked.Increment(ref _next),
                        Kind = MessageKind.Probe,
                        PayloadBytes = (ulong)_messageBytes,
                    };
                    Answer answer = await Link.SendAsync(header, slot, duration + TimeSpan.FromSeconds(30), cancellation).ConfigureAwait(false);
                    if (answer.Kind != AnswerKind.Accepted) throw new IOException(answer.Kind == AnswerKind.Expired
                        ? $"a message of {_messageBytes} bytes was under way for more than {duration.TotalSeconds + 30:0} s; the link hardly moves, or measure it with smaller messages"
                        : $"a message of the measurement was answered {answer}");
                    sent += _messageBytes;
                }
            }
            finally
            {
                _pool.Return(slot);
            }
            return sent;
        }
    }

    /// <summary>Processor seconds of this process so far.</summary>
    public static double Usage()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalSeconds;
    }

    void ILinkHandler.Opened(PeerLink link)
    {
        for (int i = 0; i < _depth && _pool.TryRent((nuint)_messageBytes, out Slot slot); i++) link.Grant(slot, Lane.Bulk);
        _opened.TrySetResult();
    }

    Answer ILinkHandler.Admit(PeerLink link, in MessageHeader header) =>
        header.Kind == MessageKind.Probe ? Answer.Accepted : Answer.Refused(Refusal.Unexpected);

    Answer ILinkHandler.Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
    {
        long now = Stopwatch.GetTimestamp();
        if (_firstAt == 0) _firstAt = now;
        else _receivedBytes += (long)header.PayloadBytes; // the first one starts the clock
        _lastAt = now;
        link.Grant(slot, Lane.Bulk);
        return Answer.Accepted;
    }

    void ILinkHandler.Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body)
    {
        switch (body.Length > 0 ? body[0] : (byte)0)
        {
            case (byte)'E':
                link.Respond(id, 0, body);
                break;
            case (byte)'U':
                Span<byte> seconds = stackalloc byte[8];
                BinaryPrimitives.WriteDoubleLittleEndian(seconds, Usage());
                link.Respond(id, 0, seconds);
                break;
            case (byte)'S' when body.Length == 5:
                TimeSpan duration = TimeSpan.FromMilliseconds(Math.Min(BinaryPrimitives.ReadUInt32LittleEndian(body[1..]), 600_000));
                // one at a time, or a peer that asks on and on piles up tasks here
                if (!_sending.IsCompleted) link.Respond(id, 2, "a measurement is on its way already"u8);
                else _sending = Task.Run(() => SendAndRespondAsync(link, id, duration));
                break;
            default:
                link.Respond(id, 1, "unknown request"u8);
                break;
        }
    }

    async Task SendAndRespondAsync(PeerLink link, ulong id, TimeSpan duration)
    {
        try
        {
            await SendAsync(duration, CancellationToken.None).ConfigureAwait(false);
            link.Respond(id, 0, []);
        }
        catch (Exception failure) when (failure is IOException or InvalidOperationException)
        {
            link.Respond(id, 2, System.Text.Encoding.UTF8.GetBytes(failure.Message));
        }
    }

    void ILinkHandler.Closed(PeerLink link, CloseReason reason)
    {
        _closed.TrySetResult(reason);
        _opened.TrySetException(new IOException($"the link did not open: {reason.Text}"));
        _ = _opened.Task.Exception; // seen
    }

    /// <summary>Frees the slots; the link must be closed.</summary>
    public void Dispose()
    {
        _sending.Wait();
        _pool.Dispose();
    }
}
