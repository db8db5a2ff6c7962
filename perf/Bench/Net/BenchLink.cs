// Two endpoints in this process and a link between them, as the engine would use it: slots, digests, answers.
using System.Diagnostics;
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;
using OrionNative.Net.Tls;

namespace OrionNative.Bench.Net;

sealed class BenchLink : IDisposable
{
    static readonly UInt128 _run = 99;

    readonly NodeIdentity _a = NodeIdentity.Create(), _b = NodeIdentity.Create();
    readonly ITransportEndpoint _endpointA, _endpointB;
    readonly PinnedPool _pool;
    readonly Receiving _sideA, _sideB;
    readonly int _messageBytes;
    uint _next;

    public BenchLink(TransportKind kind, int messageBytes, Func<IPEndPoint, IPEndPoint>? through = null, int grants = 6, QuicOptions? quic = null)
    {
        _messageBytes = messageBytes;
        _pool = new PinnedPool(new SlotClass((nuint)messageBytes, 4 * grants));
        (_sideA, _sideB) = (new Receiving(this, grants), new Receiving(this, grants));
        Dialler = new PeerLink(new LinkOptions { Run = _run, Window = new DuplicateWindow() }, _sideA);
        Acceptor = new PeerLink(new LinkOptions { Run = _run, Window = new DuplicateWindow() }, _sideB);
        _endpointA = Endpoint(kind, _a, null, quic);
        _endpointB = Endpoint(kind, _b, _ => Admission.Accept(Acceptor), quic);
        var address = new IPEndPoint(IPAddress.Loopback, _endpointB.LocalAddress.Port);
        DialledAt = Stopwatch.GetTimestamp();
        _endpointA.Dial(through?.Invoke(address) ?? address, _b.Id, Dialler);
        Task.WaitAll(_sideA.OpenedTask, _sideB.OpenedTask);
    }

    public PeerLink Dialler { get; }

    public PeerLink Acceptor { get; }

    public long DialledAt { get; }

    /// <summary>From dialling until the acceptor held the dialler's first bytes.</summary>
    public TimeSpan FirstByte => Stopwatch.GetElapsedTime(DialledAt, _sideB.OpenedAt);

    public long AcceptorBytes => Acceptor.Statistics.Received.ReceivedPayloadBytes;

    static ITransportEndpoint Endpoint(TransportKind kind, NodeIdentity identity, Admit? admit, QuicOptions? quic)
    {
        var listen = new IPEndPoint(IPAddress.Loopback, 0);
        return kind == TransportKind.Quic
            ? new QuicEndpoint(identity, (quic ?? new QuicOptions()) with { Listen = listen, Admit = admit })
            : new TlsEndpoint(identity, new TlsOptions { Listen = listen, Admit = admit });
    }

    /// <summary>Sends messages one way, some under way at once, until told to stop or until so many are through.</summary>
    public async Task SendAsync(int count, int depth, CancellationToken stop = default)
    {
        int left = count;
        await Task.WhenAll(Enumerable.Range(0, depth).Select(_ => Task.Run(async () =>
        {
            Slot slot = Rent();
            while (!stop.IsCancellationRequested && Interlocked.Decrement(ref left) >= 0)
            {
                var header = new MessageHeader { Run = _run, Microbatch = Interlocked.Increment(ref _next), Kind = MessageKind.Probe, PayloadBytes = (ulong)_messageBytes };
                Answer answer = await Dialler.SendAsync(header, slot);
                if (answer.Kind != AnswerKind.Accepted) throw new IOException($"a message was answered {answer}");
            }
            _pool.Return(slot);
        })));
    }

    /// <summary>One message there and one back: milliseconds each.</summary>
    public List<double> RoundTrips(int count)
    {
        Slot there = Rent(), back = Rent();
        List<double> times = [];
        for (int i = 0; i < count; i++)
        {
            long began = Stopwatch.GetTimestamp();
            Task arrived = _sideB.Next(), returned = _sideA.Next();
            ValueTask<Answer> first = Dialler.SendAsync(Code(), there);
            arrived.Wait();
            ValueTask<Answer> second = Acceptor.SendAsync(Code(), back);
            returned.Wait();
            times.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
            _ = first.AsTask().Result;
            _ = second.AsTask().Result;
        }
        _pool.Return(there);
        _pool.Return(back);
        return times;
    }

    MessageHeader Code() => new() { Run = _run, Microbatch = Interlocked.Increment(ref _next), Kind = MessageKind.Code, PayloadBytes = (ulong)_messageBytes };

    Slot Rent()
    {
        if (!_pool.TryRent((nuint)_messageBytes, out Slot slot)) throw new InvalidOperationException("the pool is empty");
        Random.Shared.NextBytes(slot.Span(_messageBytes));
        return slot;
    }

    public void Dispose()
    {
        _endpointA.Dispose();
        _endpointB.Dispose();
        _pool.Dispose();
        _a.Dispose();
        _b.Dispose();
    }

    sealed class Receiving(BenchLink owner, int grants) : ILinkHandler
    {
        readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
        volatile TaskCompletionSource? _next;

        public Task OpenedTask => _opened.Task;

        public long OpenedAt { get; private set; }

        public Task Next() => (_next = new TaskCompletionSource()).Task;

        public void Opened(PeerLink link)
        {
            OpenedAt = Stopwatch.GetTimestamp();
            for (int i = 0; i < grants && owner._pool.TryRent((nuint)owner._messageBytes, out Slot slot); i++) link.Grant(slot, i < 2 ? Lane.Forward : Lane.Bulk);
            _opened.TrySetResult();
        }

        public Answer Admit(PeerLink link, in MessageHeader header) => Answer.Accepted;

        public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
        {
            link.Grant(slot, header.Lane);
            _next?.TrySetResult();
            return Answer.Accepted;
        }

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body) => link.Respond(id, 0, body);

        public void Closed(PeerLink link, CloseReason reason) => _opened.TrySetException(new IOException(reason.Text));
    }
}
