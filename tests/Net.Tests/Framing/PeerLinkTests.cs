// Two links over a wire made of memory: what must arrive, what must not, and who owns the memory when.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public partial class PeerLinkTests : IDisposable
{
    static readonly UInt128 _run = 0xABCDEF;

    readonly RecordingHandler _handlerA = new(), _handlerB = new();
    readonly PinnedPool _poolA = new(new SlotClass(4096, 16), new SlotClass(3 << 20, 8));
    readonly PinnedPool _poolB = new(new SlotClass(4096, 16), new SlotClass(3 << 20, 8));
    readonly ManualTime _time = new();
    readonly DuplicateWindow _window = new(1000);
    readonly PeerLink _a, _b;
    readonly MemoryWire _wire;

    public PeerLinkTests()
    {
        _a = new PeerLink(new LinkOptions { Run = _run, Window = new DuplicateWindow(1000), Time = _time }, _handlerA);
        _b = new PeerLink(new LinkOptions { Run = _run, Window = _window, Time = _time }, _handlerB);
        _wire = new MemoryWire(_a, _b);
    }

    public void Dispose()
    {
        _wire.Close();
        foreach (var (_, _, slot, _) in _handlerB.Delivered)
            if (slot.State == SlotState.Arrived) _poolB.Return(slot);
        GC.SuppressFinalize(this);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void ManyMessages_AllLanes_ArriveWholeOnceInAGrantedSlot(int seed)
    {
        var random = new Random(seed);
        var wire = new MemoryWire(New(out RecordingHandler _, out PeerLink a), New(out RecordingHandler handlerB, out PeerLink b), seed);
        foreach (Lane lane in new[] { Lane.Backward, Lane.Forward, Lane.Bulk })
            for (int i = 0; i < 2; i++)
            {
                b.Grant(Rent(_poolB, 4096), lane);
                b.Grant(Rent(_poolB, 3 << 20), lane);
            }
        var sent = new Dictionary<uint, byte[]>();
        var tasks = new List<(Slot Slot, ValueTask<Answer> Task)>();
        for (uint i = 0; i < 60; i++)
        {
            int bytes = random.Next(4) switch { 0 => random.Next(0, 3), 1 => random.Next(4097), 2 => random.Next(100_000), _ => random.Next(3 << 20) };
            Slot slot = Rent(_poolA, (nuint)bytes);
            random.NextBytes(slot.Span(bytes));
            sent[i] = slot.Span(bytes).ToArray();
            tasks.Add((slot, a.SendAsync(Header(i, bytes, (MessageKind)random.Next(1, 6)), slot)));
            while (tasks.Count == 8)
            {
                wire.Round();
                Reap(tasks);
            }
        }
        wire.Pump();
        Reap(tasks);
        Assert.Empty(tasks);
        Assert.Equal(60, handlerB.Delivered.Count);
        foreach (var (header, payload, slot, _) in handlerB.Delivered)
        {
            Assert.True(sent.Remove(header.Microbatch), $"message {header.Microbatch} came twice");
            Assert.Equal(header.PayloadBytes, (ulong)payload.Length);
            Assert.Same(_poolB, slot.Pool);
        }
        wire.Close();
        Assert.Equal(24, _poolA.FreeCount);
        Assert.Equal(24, _poolB.FreeCount);

        void Reap(List<(Slot Slot, ValueTask<Answer> Task)> waiting)
        {
            for (int i = waiting.Count - 1; i >= 0; i--)
            {
                if (!waiting[i].Task.IsCompleted) continue;
                Assert.Equal(Answer.Accepted, waiting[i].Task.Result);
                _poolA.Return(waiting[i].Slot);
                waiting.RemoveAt(i);
            }
        }
    }

    [Fact]
    public void NoSlotGranted_Send_WaitsUntilOneIs()
    {
        ValueTask<Answer> task = Send(1, 1000, out Slot slot);
        _wire.Pump();
        Assert.False(task.IsCompleted);
        Assert.Equal(0, _a.Statistics.Sent.SentPayloadBytes);
        _b.Grant(Rent(_poolB, 100_000), Lane.Bulk); // another lane's slot does not help
        _wire.Pump();
        Assert.Equal(0, _a.Statistics.Sent.SentPayloadBytes);
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        _wire.Pump();
        Assert.Equal(Answer.Accepted, task.Result);
        Assert.Equal(SlotState.Filling, slot.State);
        Assert.Single(_handlerB.Delivered);
    }

    [Fact]
    public void AnswerArrived_NotYetAcknowledged_SlotStaysInFlight()
    {
        _wire.Acknowledges = false;
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        ValueTask<Answer> task = Send(1, 1000, out Slot slot);
        _wire.Pump();
        Assert.Single(_handlerB.Delivered);
        Assert.False(task.IsCompleted);
        Assert.Equal(SlotState.InFlight, slot.State);
        Assert.Throws<InvalidOperationException>(() => _poolA.Return(slot));
        _wire.Acknowledges = true;
        _wire.Pump();
        Assert.Equal(Answer.Accepted, task.Result);
        _poolA.Return(slot);
    }

    // Taking turns would end both at once, and on a long link both slots would then be missing for a round trip.
    [Fact]
    public void TwoEqualBulkMessages_OneIsFinishedBeforeTheOtherGoesOn_ASmallOneOvertakes()
    {
        _wire.PieceBytesMax = 5000;
        for (int i = 0; i < 3; i++) _b.Grant(Rent(_poolB, 3 << 20), Lane.Bulk);
        List<uint> order = [];
        _handlerB.OnDeliver = header =>
        {
            order.Add(header.Microbatch);
            return Answer.Accepted;
        };
        ValueTask<Answer> first = _a.SendAsync(Header(1, 3 << 20, MessageKind.Weights), Rent(_poolA, 3 << 20));
        ValueTask<Answer> second = _a.SendAsync(Header(2, 3 << 20, MessageKind.Weights), Rent(_poolA, 3 << 20));
        _wire.Pump(() => _b.Statistics.Received.ReceivedPayloadBytes > 10_000);
        ValueTask<Answer> small = _a.SendAsync(Header(3, 1000, MessageKind.Weights), Rent(_poolA, 1000));
        _wire.Pump(() => order.Contains(1));
        Assert.True(_b.Statistics.Received.ReceivedPayloadBytes <= (3 << 20) + 1000 + Sender.ChunkBytes);
        Assert.Equal([3, 1], order);
        Assert.Equal([Answer.Accepted, Answer.Accepted, Answer.Accepted], new[] { After(small), After(first), After(second) });
    }

    [Fact]
    public void SameMessageTwice_SecondIsDuplicate_AndNotDelivered()
    {
        for (int i = 0; i < 2; i++) _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        ValueTask<Answer> first = Send(1, 1000, out _), second = Send(1, 1000, out _);
        _wire.Pump();
        Assert.Equal(Answer.Accepted, first.Result);
        Assert.Equal(Answer.Duplicate, second.Result);
        Assert.Single(_handlerB.Delivered);
        Assert.Equal(Answer.Accepted, After(Send(1, 1000, out _, attempt: 1)));
    }

    [Fact]
    public void SameMessage_OverASecondLink_IsDuplicate()
    {
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        Assert.Equal(Answer.Accepted, After(Send(1, 1000, out _)));
        var b2 = new PeerLink(new LinkOptions { Run = _run, Window = _window, Time = _time }, new RecordingHandler());
        var wire = new MemoryWire(New(out _, out PeerLink a2), b2);
        b2.Grant(Rent(_poolB, 4096), Lane.Forward);
        Slot slot = Rent(_poolA, 1000);
        ValueTask<Answer> task = a2.SendAsync(Header(1, 1000, MessageKind.Code), slot);
        wire.Pump();
        Assert.Equal(Answer.Duplicate, task.Result);
        wire.Close();
    }

    [Theory]
    [InlineData(AnswerKind.Busy)]
    [InlineData(AnswerKind.Refused)]
    public void HandlerTurnsItAway_AtTheHeader_NoPayloadIsWrittenAndTheSlotIsGrantedAgain(AnswerKind kind)
    {
        var answer = new Answer(kind, kind == AnswerKind.Refused ? Refusal.StaleEpoch : Refusal.None);
        _handlerB.OnAdmit = _ => answer;
        Slot target = Rent(_poolB, 3 << 20);
        target.Span(3 << 20).Fill(0x5A);
        _b.Grant(target, Lane.Forward);
        Assert.Equal(answer, After(Send(1, 3 << 20, out _)));
        Assert.Equal(-1, target.Span(3 << 20).IndexOfAnyExcept((byte)0x5A));
        Assert.Empty(_handlerB.Delivered);
        _handlerB.OnAdmit = _ => Answer.Accepted;
        Assert.Equal(Answer.Accepted, After(Send(1, 3 << 20, out _)));
    }

    [Fact]
    public void HandlerIsBusy_AfterThePayload_SameMessageMayComeAgain()
    {
        _handlerB.OnDeliver = _ => Answer.Busy;
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        Assert.Equal(Answer.Busy, After(Send(1, 1000, out _)));
        _handlerB.OnDeliver = _ => Answer.Accepted;
        Assert.Equal(Answer.Accepted, After(Send(1, 1000, out _)));
    }

    [Fact]
    public void HandlerDefers_AnswerComesLater()
    {
        _handlerB.OnDeliver = _ => Answer.Deferred;
        Slot target = Rent(_poolB, 4096);
        _b.Grant(target, Lane.Forward);
        ValueTask<Answer> task = Send(1, 1000, out _);
        _wire.Pump();
        Assert.False(task.IsCompleted);
        Assert.Equal(SlotState.Arrived, target.State);
        _b.Answer(_handlerB.Delivered[0].Id, Answer.Refused((Refusal)300));
        Assert.Equal(Answer.Refused((Refusal)300), After(task));
        _b.Grant(target, Lane.Forward);
        _handlerB.OnDeliver = _ => Answer.Accepted;
        Assert.Equal(Answer.Accepted, After(Send(1, 1000, out _))); // refused, so it is not a duplicate
    }

    [Fact]
    public void WrongRunInHeader_IsRefusedByName()
    {
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        Slot slot = Rent(_poolA, 100);
        Assert.Equal(Answer.Refused(Refusal.WrongRun), After(_a.SendAsync(Header(1, 100, MessageKind.Code) with { Run = 1 }, slot)));
    }

    [Fact]
    public void PeersOfTwoRuns_Meet_LinkCloses()
    {
        var handler = new RecordingHandler();
        var stranger = new PeerLink(new LinkOptions { Run = 77, Window = _window, Time = _time }, handler);
        var wire = new MemoryWire(New(out _, out _), stranger);
        wire.Pump();
        Assert.Contains("belongs to run", handler.ClosedReason?.Text);
        Assert.Equal(0, handler.OpenedCount);
    }

    [Fact]
    public void WrongDigest_MessageIsRefused_AndNeverShown()
    {
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        Slot slot = Rent(_poolA, 100);
        Answer answer = After(_a.SendAsync(Header(1, 100, MessageKind.Code) with { Digest = new Digest(new byte[31].Append((byte)1).ToArray()) }, slot));
        Assert.Equal(Answer.Refused(Refusal.DigestMismatch), answer);
        Assert.Empty(_handlerB.Delivered);
    }

    // The digest of a large payload is computed while its bytes leave and comes behind them.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(31)]
    public void DigestBehindThePayload_Altered_MessageIsRefused_AndNeverShown(int digestByte)
    {
        const int Bytes = 100_000, EndBytes = 16 + 32;
        _b.Grant(Rent(_poolB, Bytes), Lane.Forward);
        int altered = 0;
        _wire.FromA = piece =>
        {
            // alone in its piece, or at the end of one
            if (piece.Length >= EndBytes && piece[^EndBytes] == (byte)DataFrameType.End && piece.AsSpan(piece.Length - EndBytes + 1, 3).IndexOfAnyExcept((byte)0) < 0)
            {
                piece = [.. piece];
                piece[piece.Length - 32 + digestByte] ^= 1;
                altered++;
            }
            return piece;
        };
        _wire.PieceBytesMax = 200_000;
        Answer answer = default;
        for (int i = 0; i < 20 && altered == 0; i++) answer = After(Send((uint)i, Bytes, out _));
        Assert.Equal(1, altered);
        Assert.Equal(Answer.Refused(Refusal.DigestMismatch), answer);
    }

    [Theory]
    [InlineData(999)]
    [InlineData(100_000)]
    [InlineData(3 << 20)]
    public void DigestLeftToTheLink_InFrontOrBehind_IsInTheDeliveredHeader(int bytes)
    {
        _b.Grant(Rent(_poolB, (nuint)bytes), Lane.Forward);
        Slot slot = Rent(_poolA, (nuint)bytes);
        new Random(bytes).NextBytes(slot.Span(bytes));
        Assert.Equal(Answer.Accepted, After(_a.SendAsync(Header(1, bytes, MessageKind.Code), slot)));
        byte[] expected = new byte[Digest.Bytes];
        unsafe
        {
            fixed (byte* data = _handlerB.Delivered[0].Payload) Blake3.Hash(data, (ulong)bytes, expected);
        }
        Assert.Equal(new Digest(expected), _handlerB.Delivered[0].Header.Digest);
    }

    [Fact]
    public void Cancelled_WhileItWaits_EndsAtOnce()
    {
        using var cancel = new CancellationTokenSource();
        Slot slot = Rent(_poolA, 100);
        ValueTask<Answer> task = _a.SendAsync(Header(1, 100, MessageKind.Code), slot, cancellation: cancel.Token);
        _wire.Pump();
        cancel.Cancel();
        Assert.Equal(new Answer(AnswerKind.Cancelled), After(task));
        Assert.Equal(SlotState.Filling, slot.State);
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        Assert.Equal(Answer.Accepted, After(Send(2, 100, out _)));
        Assert.Single(_handlerB.Delivered);
    }

    [Fact]
    public void Cancelled_InTheMiddle_SlotIsFreedHereAndGrantedAgainThere()
    {
        using var cancel = new CancellationTokenSource();
        _wire.PieceBytesMax = 5000;
        _b.Grant(Rent(_poolB, 3 << 20), Lane.Bulk);
        Slot slot = Rent(_poolA, 3 << 20);
        ValueTask<Answer> task = _a.SendAsync(Header(1, 3 << 20, MessageKind.Weights), slot, cancellation: cancel.Token);
        _wire.Pump(() => _b.Statistics.Received.ReceivedPayloadBytes > 10_000);
        cancel.Cancel();
        Assert.Equal(new Answer(AnswerKind.Cancelled), After(task));
        long sent = _a.Statistics.Sent.SentPayloadBytes;
        Assert.True(sent <= Sender.ChunkBytes, $"{sent} bytes were sent of a message cancelled after 10000");
        Assert.Empty(_handlerB.Delivered);
        ValueTask<Answer> next = _a.SendAsync(Header(2, 3 << 20, MessageKind.Weights), slot);
        Assert.Equal(Answer.Accepted, After(next));
    }

    [Fact]
    public void DeadlinePasses_WithoutASlot_SendExpires()
    {
        Slot slot = Rent(_poolA, 100);
        ValueTask<Answer> task = _a.SendAsync(Header(1, 100, MessageKind.Code), slot, TimeSpan.FromSeconds(2));
        _time.Advance(TimeSpan.FromSeconds(1.5));
        _wire.Pump();
        Assert.False(task.IsCompleted);
        _time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(new Answer(AnswerKind.Expired), After(task));
    }

    [Fact]
    public unsafe void SenderStopsInTheMiddle_PatienceEnds_LinkCloses()
    {
        _wire.PieceBytesMax = 3000;
        _b.Grant(Rent(_poolB, 3 << 20), Lane.Bulk);
        ValueTask<Answer> task = _a.SendAsync(Header(1, 3 << 20, MessageKind.Weights), Rent(_poolA, 3 << 20));
        _wire.Pump(() => _b.Statistics.Received.ReceivedPayloadBytes > 10_000);
        _time.Advance(TimeSpan.FromSeconds(15));
        ((ITransportUser)_b).Peek(Lane.Control, out _);
        Assert.Null(_wire.B.Reason);
        _time.Advance(TimeSpan.FromSeconds(25));
        ((ITransportUser)_b).Peek(Lane.Control, out _);
        Assert.Contains("stopped at", _wire.B.Reason?.Text);
        _wire.Close();
        Assert.Equal(AnswerKind.LinkClosed, task.Result.Kind);
    }

    [Fact]
    public unsafe void PeerSpeaksAndNeverAcknowledges_IsCutOff()
    {
        _wire.Acknowledges = false;
        _b.Grant(Rent(_poolB, 4096), Lane.Forward);
        ValueTask<Answer> task = Send(1, 1000, out _);
        _wire.Pump();
        for (int seconds = 0; seconds < 59; seconds++) Second();
        Assert.Null(_wire.A.Reason);
        for (int seconds = 0; seconds < 4; seconds++) Second();
        Assert.Contains("nothing of them was acknowledged for 60 s", _wire.A.Reason?.Text);
        Assert.False(task.IsCompleted, "its slot may be read again");
        _wire.Close();
        Assert.Equal(Answer.Accepted, task.Result); // the answer had come

        void Second()
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            ((ITransportUser)_a).Peek(Lane.Control, out _);
            ((ITransportUser)_b).Peek(Lane.Control, out _);
        }
    }

    [Fact]
    public void LinkCloses_EverySendEnds_EverySlotIsBack()
    {
        _wire.Acknowledges = false;
        _wire.PieceBytesMax = 3000;
        _b.Grant(Rent(_poolB, 3 << 20), Lane.Bulk);
        _b.Grant(Rent(_poolB, 3 << 20), Lane.Bulk);
        var tasks = Enumerable.Range(1, 4).Select(i => _a.SendAsync(Header((uint)i, 3 << 20, MessageKind.Weights), Rent(_poolA, 3 << 20))).ToArray();
        _wire.Pump(() => _b.Statistics.Received.ReceivedPayloadBytes > 10_000);
        _a.Grant(Rent(_poolA, 100), Lane.Forward);
        _wire.Close();
        Assert.All(tasks, task => Assert.Equal(AnswerKind.LinkClosed, task.Result.Kind));
        Assert.Equal(24, _poolB.FreeCount);
        Assert.Equal(AnswerKind.LinkClosed, _a.SendAsync(Header(9, 10, MessageKind.Code), Rent(_poolA, 10)).Result.Kind);
        Assert.NotNull(_handlerA.ClosedReason);
    }

    [Fact]
    public async Task Request_Answered_BringsTheResponse()
    {
        Task<Response> task = _a.RequestAsync(new byte[] { 1, 2, 3 }, TimeSpan.FromSeconds(5), TestContext.Current.CancellationToken);
        _wire.Pump();
        Response response = await task;
        Assert.Equal(7, response.Status);
        Assert.Equal([3, 2, 1], response.Body);
        Task<Response> lost = _a.RequestAsync(new byte[10], TimeSpan.FromSeconds(5), TestContext.Current.CancellationToken);
        _wire.Close();
        await Assert.ThrowsAsync<IOException>(() => lost);
    }

    [Fact]
    public unsafe void PeerAsksAndNeverReads_ControlQueueIsFull_LinkCloses()
    {
        for (int i = 0; i < 10 && _wire.B.Reason is null; i++)
        {
            _ = _a.RequestAsync(new byte[60_000], TimeSpan.FromSeconds(5), TestContext.Current.CancellationToken);
            // A's bytes reach B, nothing of B's ever leaves
            while (((ITransportUser)_a).Peek(Lane.Control, out byte* data) is var bytes and > 0)
            {
                _wire.B.Deliver(Lane.Control, new ReadOnlySpan<byte>(data, (int)bytes).ToArray());
                ((ITransportUser)_a).Advance(Lane.Control, bytes);
                ((ITransportUser)_a).Acknowledged(Lane.Control, bytes);
            }
            ((ITransportUser)_b).Peek(Lane.Control, out _);
        }
        Assert.Contains("unread", _wire.B.Reason?.Text);
    }

    PeerLink New(out RecordingHandler handler, out PeerLink link)
    {
        handler = new RecordingHandler();
        return link = new PeerLink(new LinkOptions { Run = _run, Window = new DuplicateWindow(1000), Time = _time }, handler);
    }

    ValueTask<Answer> Send(uint microbatch, int bytes, out Slot slot, ushort attempt = 0)
    {
        slot = Rent(_poolA, (nuint)bytes);
        return _a.SendAsync(Header(microbatch, bytes, MessageKind.Code) with { Attempt = attempt }, slot);
    }

    Answer After(ValueTask<Answer> task)
    {
        _wire.Pump();
        Assert.True(task.IsCompleted, "the send has not ended");
        return task.Result;
    }

    static Slot Rent(PinnedPool pool, nuint bytes)
    {
        Assert.True(pool.TryRent(bytes, out Slot slot));
        return slot;
    }

    static MessageHeader Header(uint microbatch, int bytes, MessageKind kind) =>
        new() { Run = _run, Epoch = 1, Step = 1, Microbatch = microbatch, Kind = kind, PayloadBytes = (ulong)bytes };
}
