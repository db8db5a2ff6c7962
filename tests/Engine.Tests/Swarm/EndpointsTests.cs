// Where others dial a peer, and which of a host's addresses a peer dials.
using System.Net;
using OrionNative.Engine.Hosting.Swarm;

namespace OrionNative.Engine.Tests.Swarm;

public class EndpointsTests
{
    static readonly IPAddress _seen = IPAddress.Parse("203.0.113.9");

    [Theory]
    [InlineData("0.0.0.0:4434", "203.0.113.9:4434")]
    [InlineData("[::]:4434", "203.0.113.9:4434")]
    [InlineData("198.51.100.1:5", "198.51.100.1:5")]
    [InlineData("[2001:db8::1]:5", "[2001:db8::1]:5")]
    public void Advertised_AnyAddress_BecomesTheOneItWasSeenAt(string said, string dialled)
    {
        Assert.True(Endpoints.TryAdvertise(said, _seen, out string address));
        Assert.Equal(dialled, address);
    }

    [Theory]
    [InlineData("")]
    [InlineData("peer.example.org:4434")]
    [InlineData("198.51.100.1")]
    [InlineData("198.51.100.1:0")]
    public void Advertised_NoPlaceToDial_IsRefused(string said) => Assert.False(Endpoints.TryAdvertise(said, _seen, out _));

    [Fact]
    public void HostWithIPv6Only_FromAnIPv4Socket_IsRefusedWithTheFix()
    {
        ConfigurationException error = Assert.Throws<ConfigurationException>(() => Endpoints.Resolve("2001:db8::1", 1, new IPEndPoint(IPAddress.Any, 0)));
        Assert.Contains("has IPv6 addresses only (2001:db8::1)", error.Message);
        Assert.Contains("--listen [::]:0", error.Message);
        Assert.Equal(IPAddress.Parse("2001:db8::1"), Endpoints.Resolve("2001:db8::1", 1, new IPEndPoint(IPAddress.IPv6Any, 0)).Address);
    }
}
