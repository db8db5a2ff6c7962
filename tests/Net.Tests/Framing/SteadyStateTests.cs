// In the steady state a message costs no managed allocation on either side: send, frames, delivery, grant, answer, reuse.
// Nor does something told.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public unsafe class SteadyStateTests
{
    const int PayloadBytes = 100_000; // its digest comes behind it

    [Fact]
    public void ThousandMessages_AfterWarmUp_AllocateNothing()
    {
        var time = new ManualTime();
        using var pool = new PinnedPool(new SlotClass(PayloadBytes, 4));
        var a = new PeerLink(new LinkOptions { Run = 1, Window = new DuplicateWindow(64), Time = time }, new Accepting());
        var b = new PeerLink(new LinkOptions { Run = 1, Window = new DuplicateWindow(64), Time = time }, new Accepting());
        var wire = new MemoryWire(a, b);
        wire.Pump();
        pool.TryRent(PayloadBytes, out Slot target);
        pool.TryRent(PayloadBytes, out Slot source);
        b.Grant(target, Lane.Backward);
        long allocated = 0;
        for (uint i = 0; i < 1500; i++)
        {
            if (i == 500) allocated = GC.GetAllocatedBytesForCurrentThread();
            var header = new MessageHeader { Run = 1, Step = i, Kind = MessageKind.CodeGradient, PayloadBytes = PayloadBytes };
            b.Tell([1, 2, 3]);
            ValueTask<Answer> task = a.SendAsync(header, source);
            while (Move(a, b) | Move(b, a)) { }
            Assert.True(task.IsCompleted);
            if (task.Result.Kind != AnswerKind.Accepted) Assert.Fail("not accepted");
        }
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        wire.Close();
        pool.Return(source);
        Assert.Equal(1500, b.Statistics.Received.ReceivedMessages);
        Assert.Equal(0, allocated);
    }

    static bool Move(ITransportUser from, ITransportUser to)
    {
        bool moved = false;
        for (Lane lane = Lane.Control; lane <= Lane.Bulk; lane++)
        {
            while (from.Peek(lane, out byte* data) is var bytes and > 0)
            {
                to.Receive(lane, data, bytes);
                from.Advance(lane, bytes);
                from.Acknowledged(lane, bytes);
                moved = true;
            }
        }
        return moved;
    }

    sealed class Accepting : ILinkHandler
    {
        public void Opened(PeerLink link) { }

        public Answer Admit(PeerLink link, in MessageHeader header) => Answer.Accepted;

        public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
        {
            link.Grant(slot, header.Lane);
            return Answer.Accepted;
        }

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body) { }

        public void Closed(PeerLink link, CloseReason reason) { }
    }
}
