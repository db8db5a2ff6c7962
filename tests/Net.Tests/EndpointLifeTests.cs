// The ends of an endpoint's life, for both transports: what is asked of one that has closed, dials that can never succeed, and
// a ring that comes when the loop's descriptor is somebody else's already.
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Links;
using OrionNative.Net.Quic;
using OrionNative.Net.Tests.Links;

namespace OrionNative.Net.Tests;

public sealed partial class EndpointLifeTests : IDisposable
{
    static readonly IPEndPoint _loopback = new(IPAddress.Loopback, 0);

    readonly NodeIdentity _identity = NodeIdentity.Create();

    public void Dispose() => _identity.Dispose();

    ITransportEndpoint Endpoint(TransportKind kind)
    {
        LinkedPair.SkipWithout(kind);
        return LinkMeter.Endpoint(kind, _identity, _loopback, null, null);
    }

    [Theory]
    [InlineData(TransportKind.Quic)]
    [InlineData(TransportKind.Tcp)]
    public async Task EndpointCloses_WhileOthersDial_EveryDialEndsOrThrows(TransportKind kind)
    {
        for (int round = 0; round < 10; round++)
        {
            ITransportEndpoint endpoint = Endpoint(kind);
            var users = new List<QuicTestUser>();
            Task dialling = Task.Run(() =>
            {
                while (true)
                {
                    var user = new QuicTestUser();
                    try
                    {
                        endpoint.Dial(new IPEndPoint(IPAddress.Loopback, 9), _identity.Id, user);
                        users.Add(user);
                    }
                    catch (ObjectDisposedException)
                    {
                        user.Dispose();
                        return;
                    }
                    if (users.Count > 50) Thread.Yield();
                }
            }, TestContext.Current.CancellationToken);
            Assert.True(SpinWait.SpinUntil(() => users.Count > 3, 10_000));
            endpoint.Dispose();
            await dialling;
            Assert.All(users, user => Assert.NotNull(user.Reason));
            users.ForEach(user => user.Dispose());
        }
    }

    [Fact]
    public async Task ClosedEndpoint_IsToMove_SaysSo()
    {
        var endpoint = (QuicEndpoint)Endpoint(TransportKind.Quic);
        endpoint.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Task.Run(() => endpoint.Rebind(_loopback)).WaitAsync(TimeSpan.FromSeconds(10)));
    }

    [Fact]
    public void IPv6Address_DialledFromAnIPv4Socket_EndsWithTheFix()
    {
        using ITransportEndpoint endpoint = Endpoint(TransportKind.Quic);
        using var user = new QuicTestUser();
        endpoint.Dial(new IPEndPoint(IPAddress.IPv6Loopback, 9), _identity.Id, user);
        Assert.True(user.WaitClosed());
        Assert.Equal(CloseKind.Failed, user.Reason!.Kind);
        Assert.Contains("carries IPv4 only. Fix: listen on [::]", user.Reason.Text);
    }

    // To the broadcast address the kernel sends for nobody who has not asked for it, whatever network the machine is on.
    [Fact]
    public void AddressThatTheKernelDoesNotSendTo_Dialled_TheReasonNamesItsError()
    {
        LinkedPair.SkipWithout(TransportKind.Quic);
        using var endpoint = new QuicEndpoint(_identity, new QuicOptions { Listen = new IPEndPoint(IPAddress.Any, 0), HandshakeTimeout = TimeSpan.FromSeconds(0.5) });
        using var user = new QuicTestUser();
        endpoint.Dial(new IPEndPoint(IPAddress.Broadcast, 9), _identity.Id, user);
        Assert.True(user.WaitClosed());
        Assert.Equal(CloseKind.HandshakeTimeout, user.Reason!.Kind);
        Assert.Contains("does not send there", user.Reason.Text);
        Assert.Contains("(errno 13)", user.Reason.Text);
    }

    // As on a machine without IPv6, or one that has no descriptors left.
    sealed class Unknown() : IPEndPoint(IPAddress.Loopback, 9)
    {
        public override AddressFamily AddressFamily => AddressFamily.NetBios;
    }

    [Fact]
    public void NoSocketToBeHad_TcpDialled_EndsInsteadOfWaiting()
    {
        using ITransportEndpoint endpoint = Endpoint(TransportKind.Tcp);
        using var user = new QuicTestUser();
        endpoint.Dial(new Unknown(), _identity.Id, user);
        Assert.True(user.WaitClosed(5));
        Assert.Contains("could not be reached", user.Reason!.Text);
    }

    [Fact]
    public unsafe void Ring_AfterTheEnd_WritesIntoNobodysFile()
    {
        const int Duplicate = 0, Tries = 1000;
        string path = Path.GetTempFileName();
        try
        {
            using FileStream file = File.Open(path, FileMode.Open, FileAccess.ReadWrite);
            for (int i = 0; i < Tries; i++)
            {
                var signal = new WakeSignal();
                int number = signal.Descriptor;
                signal.Dispose();
                // the lowest free number from there on; other tests of this process take numbers too
                int same = fcntl(file.SafeFileHandle.DangerousGetHandle().ToInt32(), Duplicate, number);
                signal.Ring();
                Assert.Equal(0, close(same));
                Assert.Equal(0, new FileInfo(path).Length);
                if (same == number) return;
            }
            Assert.Fail($"the number of a closed descriptor was never the next one in {Tries} tries");
        }
        finally
        {
            File.Delete(path);
        }
    }

    [LibraryImport("libc")]
    private static partial int fcntl(int fd, int command, int argument);

    [LibraryImport("libc")]
    private static partial int close(int fd);
}
