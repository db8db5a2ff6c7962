// Two QUIC endpoints of one process, talking over loopback: every lane whole and in order, each side sure of the other.
using System.Net;
using OrionNative.Net.Framing;
using OrionNative.Net.Quic;
using static OrionNative.Net.Quic.Interop.Ngtcp2;

namespace OrionNative.Net.Tests;

public class QuicTests
{
    [Fact]
    public void Handshake_BothSidesPinned_EachKnowsTheOther()
    {
        using var pair = new QuicPair();
        pair.Connect();
        Assert.Equal(pair.Client.LocalNodeId, pair.ServerUser.Connection!.RemoteNodeId);
        Assert.Equal(pair.Server.LocalNodeId, pair.ClientUser.Connection!.RemoteNodeId);
        Assert.Equal(TransportKind.Quic, pair.ClientUser.Connection.Kind);
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public void AllLanesBothWays_EveryByteArrivesInPlace(string address)
    {
        using var pair = new QuicPair(address: IPAddress.Parse(address));
        pair.Connect();
        long[] bytes = [100_003, 3_000_017, 5_000_011, 20_000_003];
        for (int lane = 0; lane < QuicTestUser.Lanes; lane++)
        {
            pair.ClientUser.Offer((Lane)lane, bytes[lane]);
            pair.ServerUser.Offer((Lane)lane, bytes[QuicTestUser.Lanes - 1 - lane]);
        }
        for (int lane = 0; lane < QuicTestUser.Lanes; lane++)
        {
            var l = (Lane)lane;
            long forth = bytes[lane], back = bytes[QuicTestUser.Lanes - 1 - lane];
            Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(l) == forth), $"{l}: {pair.ServerUser.Received(l)} of {forth}\n{pair.LogText}");
            Assert.True(pair.ClientUser.Wait(() => pair.ClientUser.Received(l) == back), $"{l}: {pair.ClientUser.Received(l)} of {back}\n{pair.LogText}");
            Assert.True(pair.ClientUser.Wait(() => pair.ClientUser.Acknowledgements(l) == forth));
        }
        Assert.False(pair.ServerUser.IsDamaged || pair.ClientUser.IsDamaged);
    }

    [Theory]
    [InlineData(CongestionControl.Bbr)]
    [InlineData(CongestionControl.Cubic)]
    public unsafe void Connection_OfEitherCongestionControl_HasTheWindowsOfTheDesignAndNoLog(CongestionControl chosen)
    {
        using var pair = new QuicPair(client: new QuicOptions { CongestionControl = chosen });
        ngtcp2_settings settings;
        ngtcp2_transport_params parameters;
        pair.Client.Prepare(&settings, &parameters);
        Assert.Equal(chosen == CongestionControl.Bbr ? NGTCP2_CC_ALGO_BBR : NGTCP2_CC_ALGO_CUBIC, settings.cc_algo);
        Assert.True(settings.qlog_write == null, "CVE-2026-40170 needs qlog");
        Assert.Equal(64UL << 20, parameters.initial_max_data);
        Assert.Equal(64UL << 20, parameters.initial_max_stream_data_uni);
        Assert.Equal(0, settings.no_pmtud);
        pair.Connect();
        pair.ClientUser.Offer(Lane.Forward, 5_000_000);
        Assert.True(pair.ServerUser.Wait(() => pair.ServerUser.Received(Lane.Forward) == 5_000_000), pair.LogText);
    }

    [Fact]
    public void Close_OneSide_OtherSideKnowsAtOnce()
    {
        using var pair = new QuicPair();
        pair.Connect();
        pair.ClientUser.Connection!.Close("test is over");
        Assert.True(pair.ClientUser.WaitClosed(1) && pair.ServerUser.WaitClosed(1));
        Assert.Equal(CloseKind.Local, pair.ClientUser.Reason!.Kind);
        Assert.Equal(CloseKind.Remote, pair.ServerUser.Reason!.Kind);
    }
}
