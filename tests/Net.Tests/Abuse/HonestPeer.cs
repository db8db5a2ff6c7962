// Somebody else, who works all the time while others abuse the server: messages over one link, each accepted, counted.
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Tests.Links;

namespace OrionNative.Net.Tests.Abuse;

sealed class HonestPeer : IDisposable
{
    const int Bytes = 20_000;

    // a message and its answer take well under a millisecond; a server held up for seconds is a server that was stopped
    static readonly TimeSpan _within = TimeSpan.FromSeconds(30);

    readonly ITransportEndpoint _endpoint;
    readonly PinnedPool _pool = new(new SlotClass(Bytes, 1));
    readonly CheckingHandler _handler = new();
    readonly PeerLink _link;
    readonly Task _work;
    volatile bool _ends;
    long _accepted;

    public HonestPeer(AbusedServer server, TransportKind kind)
    {
        _endpoint = LinkedPair.Endpoint(kind, Identity, null, static _ => { });
        _link = new PeerLink(new LinkOptions { Run = LinkedPair.Run, Window = new DuplicateWindow() }, _handler);
        _endpoint.Dial(server.Address(kind), server.Id, _link);
        _work = WorkAsync();
    }

    public NodeIdentity Identity { get; } = NodeIdentity.Create();

    /// <summary>Messages that the server accepted.</summary>
    public long Accepted => Interlocked.Read(ref _accepted);

    /// <summary>Waits until so many more are accepted.</summary>
    public async Task MoreAsync(int messages)
    {
        long until = Accepted + messages;
        while (Accepted < until)
        {
            if (_work.IsCompleted) await _work;
            await Task.Delay(2);
        }
    }

    async Task WorkAsync()
    {
        await Task.WhenAny(_handler.Opened, _handler.Closed).WaitAsync(_within);
        Assert.True(_handler.Opened.IsCompleted, $"the honest peer is not let in: {(_handler.Closed.IsCompleted ? await _handler.Closed : null)}");
        Assert.True(_pool.TryRent(Bytes, out Slot slot));
        for (uint i = 0; !_ends; i++)
        {
            var header = new MessageHeader { Run = LinkedPair.Run, Step = (uint)Environment.TickCount, Microbatch = i, Kind = MessageKind.Code, PayloadBytes = Bytes };
            Answer answer = await _link.SendAsync(header, slot, _within);
            Assert.True(answer.Kind == AnswerKind.Accepted, $"message {i} of the honest peer: {answer}, {(_handler.Closed.IsCompleted ? await _handler.Closed : null)}");
            Interlocked.Increment(ref _accepted);
            await Task.Delay(1);
        }
        _pool.Return(slot);
    }

    public void Dispose()
    {
        _ends = true;
        _ = Task.WhenAny(_work, Task.Delay(_within)).Result; // a failure of it was told by MoreAsync
        _endpoint.Dispose();
        if (_pool.FreeCount == 1) _pool.Dispose();
        Identity.Dispose();
    }
}
