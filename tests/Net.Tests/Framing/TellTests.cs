// What is told needs no answer: it arrives in order, once, as it was when it was told, and leaves nothing behind.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public class TellTests
{
    readonly RecordingHandler _handlerA = new(), _handlerB = new();
    readonly PeerLink _a, _b;
    readonly MemoryWire _wire;

    public TellTests()
    {
        var time = new ManualTime();
        _a = new PeerLink(new LinkOptions { Run = 1, Window = new DuplicateWindow(64), Time = time }, _handlerA);
        _b = new PeerLink(new LinkOptions { Run = 1, Window = new DuplicateWindow(64), Time = time }, _handlerB);
        _wire = new MemoryWire(_a, _b);
    }

    [Fact]
    public void Told_ManyAndRequestsBetween_ArriveOnceInOrderUnderNumberZero()
    {
        var random = new Random(1);
        List<byte[]> told = [];
        for (int i = 0; i < 200; i++)
        {
            byte[] body = new byte[random.Next(1, 3000)];
            random.NextBytes(body);
            told.Add(body);
            _a.Tell(body);
            if (i % 3 == 0) _ = _a.RequestAsync(new byte[] { 9 }, TimeSpan.FromSeconds(5), TestContext.Current.CancellationToken);
            if (i % 7 == 0) _wire.Round();
        }
        _wire.Pump();
        Assert.Equal(told, _handlerB.Requests.Where(request => request.Id == 0).Select(request => request.Body));
        Assert.Equal(67, _handlerB.Requests.Count(request => request.Id != 0 && request.Body is [9]));
    }

    [Fact]
    public void Told_BufferChangesAtOnce_ArrivesAsItWas()
    {
        byte[] body = [1, 2, 3];
        _a.Tell(body);
        body.AsSpan().Fill(7);
        _a.Tell(body);
        _wire.Pump();
        Assert.Equal([[1, 2, 3], [7, 7, 7]], _handlerB.Requests.Select(request => request.Body));
    }

    [Fact]
    public void Told_HandlerResponds_NothingComesBack()
    {
        _wire.Pump();
        int before = _handlerA.Requests.Count;
        _a.Tell([5]);
        _wire.Pump();
        Assert.Single(_handlerB.Requests);
        Assert.False(_wire.Round());
        Assert.Equal(before, _handlerA.Requests.Count);
        Assert.False(_wire.A.IsClosed);
    }

    [Fact]
    public void Told_BothWaysAtOnce_EachSideHearsItsOwn()
    {
        _a.Tell([1]);
        _b.Tell([2]);
        _wire.Pump();
        Assert.Equal([2], Assert.Single(_handlerA.Requests).Body);
        Assert.Equal([1], Assert.Single(_handlerB.Requests).Body);
    }

    [Fact]
    public void Told_LongerThanAFrame_IsRefusedHere()
    {
        _a.Tell(new byte[64 << 10]);
        Assert.Throws<ArgumentException>(() => _a.Tell(new byte[(64 << 10) + 1]));
        _wire.Pump();
        Assert.Equal(64 << 10, Assert.Single(_handlerB.Requests).Body.Length);
    }

    [Fact]
    public void Told_AfterTheLinkClosed_IsDropped()
    {
        _wire.Pump();
        _wire.Close();
        _a.Tell([1]);
        Assert.Empty(_handlerB.Requests);
        Assert.NotNull(_handlerA.ClosedReason);
    }
}
