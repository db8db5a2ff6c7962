// The measuring tool against its own server on this machine: numbers that can be checked without a clock.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Links;

namespace OrionNative.Net.Tests.Links;

public class LinkMeterTests
{
    [Theory]
    [InlineData(TransportKind.Quic)]
    [InlineData(TransportKind.Tcp)]
    public async Task Measured_ReportsBothDirections(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        using NodeIdentity serving = NodeIdentity.Create(), testing = NodeIdentity.Create();
        var options = new MeterOptions { Duration = TimeSpan.FromMilliseconds(400), MessageBytes = 100_000, Depth = 4 };
        var loopback = new IPEndPoint(IPAddress.Loopback, 0);
        using var server = new LinkServer(serving, loopback, [kind], id => id == testing.Id, options, null);
        using ITransportEndpoint endpoint = LinkMeter.Endpoint(kind, testing, loopback, null, null);
        LinkReport report = await LinkMeter.MeasureAsync(endpoint, server.Address, serving.Id, options, CancellationToken.None);
        Assert.Equal(kind, report.Transport);
        foreach (DirectionReport direction in new[] { report.Up, report.Down })
        {
            Assert.True(direction.Bytes > 0 && direction.Bytes % options.MessageBytes == 0, $"{direction.Bytes} bytes");
            Assert.InRange(direction.MegabytesPerSecond, direction.Bytes / direction.Seconds / 1e6 * 0.999, direction.Bytes / direction.Seconds / 1e6 * 1.001);
            Assert.True(direction.RttLoadedMsP50 > 0 && direction.RttLoadedMsP99 >= direction.RttLoadedMsP50);
        }
    }

    [Fact]
    public async Task StrangerMeasures_IsRefused()
    {
        using NodeIdentity serving = NodeIdentity.Create(), stranger = NodeIdentity.Create();
        var loopback = new IPEndPoint(IPAddress.Loopback, 0);
        var lines = new List<string>();
        using var server = new LinkServer(serving, loopback, [TransportKind.Tcp], _ => false, new MeterOptions(), line =>
        {
            lock (lines) lines.Add(line);
        });
        using ITransportEndpoint endpoint = LinkMeter.Endpoint(TransportKind.Tcp, stranger, loopback, null, null);
        await Assert.ThrowsAsync<IOException>(() => LinkMeter.MeasureAsync(endpoint, server.Address, serving.Id, new MeterOptions(), CancellationToken.None));
        lock (lines) Assert.Contains(lines, line => line.Contains(stranger.Id.Short) && line.Contains("not on the list"));
    }
}
