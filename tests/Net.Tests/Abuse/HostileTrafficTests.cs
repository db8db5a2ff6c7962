// Seeded mutations of real traffic over real connections of both transports, against a server in a process of its own, while an
// honest peer works. One connection carries one mutated recording (some ten frames, End frames among them) until it is cut
// off or has said everything. HostileFramesTests does the same a million times against the framing alone.
// Sixty connections here, 4,000 with ORION_LONG=1.
using OrionNative.Net.Framing;
using OrionNative.Net.Tests.Framing;
using OrionNative.Net.Tests.Links;

namespace OrionNative.Net.Tests.Abuse;

public sealed class HostileTrafficTests(AbusedServer server) : AbuseCase(server), IClassFixture<AbusedServer>
{
    [Theory]
    [InlineData(TransportKind.Quic)]
    [InlineData(TransportKind.Tcp)]
    public async Task MutatedTraffic_OverConnections_ServerLivesFlatAndServes(TransportKind kind)
    {
        int connections = Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 4_000 : 60;
        List<(Lane Lane, byte[] Bytes)> traffic = HostileFramesTests.Record(LinkedPair.Run);
        // the recording begins with a Hello, which goes first and unharmed, because slots are granted only after it
        Assert.Equal(Lane.Control, traffic[0].Lane);
        Assert.Equal(RawPeer.Hello(), traffic[0].Bytes[..RawPeer.Hello().Length]);
        traffic[0] = (Lane.Control, traffic[0].Bytes[RawPeer.Hello().Length..]);
        int cutOff = 0, pieces = 0;
        await WithstandAsync(kind, "closed", Attacker.Id.Short, async () =>
        {
            using ITransportEndpoint endpoint = RawPeer.Endpoint(kind, Attacker);
            for (int seed = 0; seed < connections; seed++)
            {
                using RawPeer peer = await GreetedAsync(endpoint);
                foreach ((Lane lane, byte[] bytes) in HostileFramesTests.Mutate(traffic, new Random(seed)))
                {
                    if (bytes.Length > 0) peer.Send(lane, bytes);
                    pieces++;
                }
                // long enough on loopback to be read; whoever was not cut off by then is left
                await Task.WhenAny(peer.Closed, Task.Delay(20));
                if (peer.Closed.IsCompleted) cutOff++;
            }
        });
        TestContext.Current.TestOutputHelper?.WriteLine($"{kind}: {connections} connections, {pieces} pieces, {cutOff} cut off");
        Assert.InRange(cutOff, connections / 10, connections);
    }

    // The server allows two connections of one identity, and may not have noticed yet that the last ones are gone.
    async Task<RawPeer> GreetedAsync(ITransportEndpoint endpoint)
    {
        for (int attempt = 1; ; attempt++)
        {
            var peer = new RawPeer(Server, endpoint);
            try
            {
                await Task.WhenAny(peer.Opened, peer.Closed).WaitAsync(Soon);
                peer.Send(Lane.Control, RawPeer.Hello());
                for (int slot = 0; slot < AbusedServer.SlotsPerLink; slot++) await peer.SlotAsync((Lane)(1 + (slot % 3))).WaitAsync(Soon);
                return peer;
            }
            catch (IOException) when (attempt < 500)
            {
                peer.Dispose();
                await Task.Delay(10);
            }
        }
    }
}
