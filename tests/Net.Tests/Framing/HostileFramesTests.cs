// Seeded mutations of real traffic against the pure core: flipped bits, edited lengths, cuts, repeats, splices, lanes swapped.
// Whatever comes, the only exception is InvalidDataException, no byte outside a granted slot changes, what is shown has the
// digest that its header claims, and what a link keeps stays bounded. 100,000 here; ORION_LONG=1 runs a million.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public unsafe class HostileFramesTests
{
    const int Capacity = 1000, PageBytes = 4096;
    static readonly UInt128 _run = 5;

    [Fact]
    public void MutatedTraffic_NeverHarmsTheReceiver()
    {
        int rounds = Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 1_000_000 : 100_000;
        List<(Lane Lane, byte[] Bytes)> traffic = Record(_run);
        using var pool = new PinnedPool(new SlotClass(Capacity, 6));
        var time = new ManualTime();
        new Span<byte>(pool.Memory, (int)pool.Bytes).Fill(0xEE);
        int refused = 0, delivered = 0;
        for (int seed = 0; seed < rounds; seed++)
        {
            var handler = new Checking();
            var link = new PeerLink(new LinkOptions { Run = _run, Window = new DuplicateWindow(16), Time = time }, handler);
            var side = new MemoryWire.Side(link);
            ((ITransportUser)link).Opened(side);
            Give(pool, link);
            ((ILaneSource)link).Peek(Lane.Control, out _);
            foreach ((Lane lane, byte[] bytes) in Mutate(traffic, new Random(seed)))
            {
                side.Deliver(lane, bytes);
                if (side.IsClosed) break;
            }
            if (side.IsClosed) refused++;
            side.End(CloseKind.Remote, "done");
            delivered += handler.Delivered;
            Assert.True(pool.FreeCount == 6, $"seed {seed}: {pool.FreeCount} of 6 slots came back");
            if (seed % 1000 == 0) CheckGuards(pool, seed);
        }
        CheckGuards(pool, rounds);
        // both kinds of outcome must be common, or the mutations miss the decoder or never pass it
        Assert.True(refused > rounds / 10, $"{refused} of {rounds} were refused");
        Assert.True(delivered > rounds / 10, $"{delivered} messages passed in {rounds} rounds");
    }

    // Four messages of three lanes, two with their digest in front and two behind, control frames and a request, as A really sends them to B.
    internal static List<(Lane Lane, byte[] Bytes)> Record(UInt128 run)
    {
        var pool = new PinnedPool(new SlotClass(Capacity, 12));
        var time = new ManualTime();
        var a = new PeerLink(new LinkOptions { Run = run, Window = new DuplicateWindow(16), Time = time, DigestFirstBytes = 400 }, new Checking());
        var b = new PeerLink(new LinkOptions { Run = run, Window = new DuplicateWindow(16), Time = time }, new Checking());
        List<(Lane, byte[])> traffic = [];
        var wire = new MemoryWire(a, new Tap(b, traffic)) { PieceBytesMax = 100_000 };
        Give(pool, b);
        for (uint i = 0; i < 4; i++)
        {
            pool.TryRent(Capacity, out Slot slot);
            new Random((int)i).NextBytes(slot.Span(Capacity));
            var kind = (MessageKind)(1 + (i % 3));
            _ = a.SendAsync(new MessageHeader { Run = run, Microbatch = i, Kind = kind, PayloadBytes = 300 * i }, slot);
        }
        _ = a.RequestAsync(new byte[40], TimeSpan.FromSeconds(1));
        wire.Pump();
        wire.Close();
        return traffic;
    }

    internal static List<(Lane Lane, byte[] Bytes)> Mutate(List<(Lane Lane, byte[] Bytes)> traffic, Random random)
    {
        var result = traffic.Select(piece => (piece.Lane, Bytes: piece.Bytes.ToArray())).ToList();
        for (int i = random.Next(3); i >= 0; i--)
        {
            int at = random.Next(result.Count);
            (Lane lane, byte[] bytes) = result[at];
            if (bytes.Length == 0) continue;
            switch (random.Next(8))
            {
                case 0: bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8)); break;
                case 1: bytes[random.Next(Math.Min(bytes.Length, 160))] = (byte)random.Next(256); break;
                case 2: BitConverter.TryWriteBytes(bytes.AsSpan(bytes.Length > 8 ? random.Next(bytes.Length - 8) & ~7 : 0), _lengths[random.Next(_lengths.Length)]); break;
                case 3: result[at] = (lane, bytes[..random.Next(bytes.Length)]); break;
                case 4: result.Insert(random.Next(result.Count), (lane, bytes)); break;
                case 5: result[at] = ((Lane)random.Next(4), bytes); break;
                case 6: result[at] = (lane, [.. bytes.AsSpan(random.Next(bytes.Length)), .. bytes.AsSpan(0, random.Next(bytes.Length))]); break;
                case 7: result.RemoveAt(at); if (result.Count == 0) return result; break;
            }
        }
        return result;
    }

    static readonly ulong[] _lengths = [0, 1, Capacity, Capacity + 1, int.MaxValue, uint.MaxValue, long.MaxValue, ulong.MaxValue, ulong.MaxValue - 15];

    static void Give(PinnedPool pool, PeerLink link)
    {
        for (int i = 0; i < 6; i++)
        {
            Assert.True(pool.TryRent(Capacity, out Slot slot));
            link.Grant(slot, (Lane)(1 + (i % 3)));
        }
    }

    static void CheckGuards(PinnedPool pool, int seed)
    {
        for (int page = 0; page < 6; page++)
        {
            var guard = new ReadOnlySpan<byte>(pool.Memory + (page * PageBytes) + Capacity, PageBytes - Capacity);
            Assert.True(guard.IndexOfAnyExcept((byte)0xEE) < 0, $"before seed {seed} a byte behind slot {page} changed");
        }
    }

    sealed class Tap(ITransportUser inner, List<(Lane, byte[])> traffic) : ITransportUser
    {
        public void Opened(ITransportConnection connection) => inner.Opened(connection);

        public void Closed(ITransportConnection connection, CloseReason reason) => inner.Closed(connection, reason);

        public nuint Peek(Lane lane, out byte* data) => inner.Peek(lane, out data);

        public void Advance(Lane lane, nuint bytes) => inner.Advance(lane, bytes);

        public void Acknowledged(Lane lane, nuint bytes) => inner.Acknowledged(lane, bytes);

        public void Receive(Lane lane, byte* data, nuint bytes)
        {
            traffic.Add((lane, new ReadOnlySpan<byte>(data, (int)bytes).ToArray()));
            inner.Receive(lane, data, bytes);
        }
    }

    sealed class Checking : ILinkHandler
    {
        public int Delivered { get; private set; }

        public void Opened(PeerLink link) { }

        public Answer Admit(PeerLink link, in MessageHeader header) => Answer.Accepted;

        public Answer Deliver(PeerLink link, in MessageHeader header, Slot slot, ulong id)
        {
            Delivered++;
            Assert.Equal(header.Digest, Digest.Of(slot.Data, (nuint)header.PayloadBytes));
            link.Grant(slot, header.Lane);
            return Answer.Accepted;
        }

        public void Requested(PeerLink link, ulong id, ReadOnlySpan<byte> body) => link.Respond(id, 0, body);

        public void Closed(PeerLink link, CloseReason reason) { }
    }
}
