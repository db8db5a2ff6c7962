// The laboratory's links over days: diallers that come and go, conditions that a link cannot show.
using System.Net;
using System.Net.Sockets;
using OrionNative.Net.Links;
using OrionNative.Net.Quic;

namespace OrionNative.Net.Tests.Links;

public class UdpLinkTests
{
    const long Second = 1_000_000_000;

    static readonly IPEndPoint _loopback = new(IPAddress.Loopback, 0);

    [Fact]
    public unsafe void DiallersWithoutNumber_TheQuietestMakesRoomAfterAMinute()
    {
        const int Flows = 256;
        LinkedPair.SkipWithout(OrionNative.Net.Framing.TransportKind.Quic);
        using var target = new UdpClient(_loopback);
        using var link = new UdpLink(_loopback, (IPEndPoint)target.Client.LocalEndPoint!, LinkProfile.Named["perfect"].Profile, 1, null, static _ => { }, null);
        var diallers = new List<UdpClient>();
        byte[] batch = new byte[UdpSocket.BatchBytesMax];
        try
        {
            for (int i = 0; i < Flows; i++) Assert.True(Passes(0), $"dialler {i} does not pass");
            Assert.False(Passes(Second), "nobody has been quiet for long");
            Assert.True(Passes(61 * Second), "no place was freed");
        }
        finally
        {
            diallers.ForEach(dialler => dialler.Dispose());
        }

        bool Passes(long now)
        {
            var dialler = new UdpClient(_loopback);
            diallers.Add(dialler);
            dialler.Send([1], link.Address);
            link.Receive(now);
            fixed (byte* memory = batch) link.Release(now, memory);
            bool came = target.Client.Poll(0, SelectMode.SelectRead);
            if (came) target.Client.Receive(new byte[1]);
            return came;
        }
    }

    [Fact]
    public void TcpRelay_IsToLose_RefusesAtTheStartAndWhileItRuns()
    {
        var target = new IPEndPoint(IPAddress.Loopback, 9);
        LinkProfile lossy = LinkProfile.Both(new LinkConditions { Loss = 0.01 }), slow = LinkProfile.Both(new LinkConditions { BitsPerSecond = 1e6 });
        Assert.Throws<NotSupportedException>(() => new TcpRelay(_loopback, target, lossy, 1));
        using var relay = new TcpRelay(_loopback, target, slow, 1);
        Assert.Throws<NotSupportedException>(() => relay.Profile = lossy);
        Assert.Same(slow, relay.Profile);
    }
}
