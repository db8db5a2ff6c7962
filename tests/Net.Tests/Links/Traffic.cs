// Random messages of all kinds and sizes over one link, six under way at once; each must be accepted.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Links;

static class Traffic
{
    public static void Grant(PeerLink link, PinnedPool pool, int largest)
    {
        for (int i = 0; i < 6; i++)
        {
            Assert.True(pool.TryRent(i < 3 ? (nuint)largest : 64u << 10, out Slot slot));
            link.Grant(slot, (Lane)(1 + (i % 3)));
        }
    }

    public static async Task Send(PeerLink link, PinnedPool pool, uint first, int count, int largest)
    {
        var random = new Random((int)first);
        var under = new List<Task>();
        for (uint i = first; i < first + count; i++)
        {
            int bytes = random.Next(3) == 0 ? random.Next(largest) : random.Next(60_000);
            under.Add(One(link, pool, i, bytes, (MessageKind)random.Next(1, 6)));
            if (under.Count < 6) continue;
            Task done = await Task.WhenAny(under);
            under.Remove(done);
            await done;
        }
        await Task.WhenAll(under);
    }

    static async Task One(PeerLink link, PinnedPool pool, uint microbatch, int bytes, MessageKind kind)
    {
        Assert.True(pool.TryRent((nuint)bytes, out Slot slot));
        CheckingHandler.Fill(slot.Span(bytes), microbatch);
        var header = new MessageHeader { Run = LinkedPair.Run, Microbatch = microbatch, Kind = kind, PayloadBytes = (ulong)bytes };
        Assert.Equal(Answer.Accepted, await link.SendAsync(header, slot));
        pool.Return(slot);
    }
}
