// The binding against the C header: sizes and offsets that a C program printed, compiled against ngtcp2.h v1.11.0 on x86_64.
using System.Runtime.InteropServices;
using OrionNative.Net.Quic;
using static OrionNative.Net.Quic.Interop.Ngtcp2;

namespace OrionNative.Net.Tests;

public unsafe class QuicLayoutTests
{
    [Fact]
    public void Structs_HaveTheSizesOfTheHeader()
    {
        Assert.Equal(32, sizeof(ngtcp2_cid));
        Assert.Equal(16, sizeof(ngtcp2_vec));
        Assert.Equal(16, sizeof(ngtcp2_addr));
        Assert.Equal(40, sizeof(ngtcp2_path));
        Assert.Equal(8, sizeof(ngtcp2_pkt_info));
        Assert.Equal(112, sizeof(ngtcp2_pkt_hd));
        Assert.Equal(40, sizeof(ngtcp2_version_cid));
        Assert.Equal(184, sizeof(ngtcp2_settings));
        Assert.Equal(96, sizeof(ngtcp2_preferred_addr));
        Assert.Equal(344, sizeof(ngtcp2_transport_params));
        Assert.Equal(56, sizeof(ngtcp2_conn_info));
        Assert.Equal(40, sizeof(ngtcp2_ccerr));
        Assert.Equal(16, sizeof(ngtcp2_info));
        Assert.Equal(320, sizeof(ngtcp2_callbacks));
        Assert.Equal(16, sizeof(OrionNative.Net.Quic.Interop.Ngtcp2Crypto.ngtcp2_crypto_conn_ref));
    }

    [Theory]
    [InlineData(typeof(ngtcp2_pkt_hd), "flags", 109)]
    [InlineData(typeof(ngtcp2_settings), "cc_algo", 8)]
    [InlineData(typeof(ngtcp2_settings), "handshake_timeout", 112)]
    [InlineData(typeof(ngtcp2_settings), "pmtud_probes", 168)]
    [InlineData(typeof(ngtcp2_settings), "pmtud_probeslen", 176)]
    [InlineData(typeof(ngtcp2_transport_params), "initial_max_data", 216)]
    [InlineData(typeof(ngtcp2_transport_params), "version_info", 312)]
    [InlineData(typeof(ngtcp2_transport_params), "version_info_present", 336)]
    [InlineData(typeof(ngtcp2_conn_info), "bytes_in_flight", 48)]
    [InlineData(typeof(ngtcp2_ccerr), "reasonlen", 32)]
    [InlineData(typeof(ngtcp2_version_cid), "scidlen", 32)]
    [InlineData(typeof(ngtcp2_callbacks), "recv_stateless_reset", 96)]
    [InlineData(typeof(ngtcp2_callbacks), "remove_connection_id", 144)]
    public void Fields_StandWhereTheHeaderPutsThem(Type type, string field, int offset) =>
        Assert.Equal(offset, (int)Marshal.OffsetOf(type, field));

    [Fact]
    public void Library_DefaultSettings_LandInTheNamedFields()
    {
        if (!QuicLibrary.IsSupported) Assert.Skip(QuicLibrary.NotSupportedReason!);
        ngtcp2_settings settings;
        ngtcp2_settings_default_versioned(2, &settings);
        // RFC 9002: initial RTT 333 ms. The other two are ngtcp2's documented defaults.
        Assert.Equal(333_000_000UL, settings.initial_rtt);
        Assert.Equal(2u, settings.ack_thresh);
        Assert.Equal(ulong.MaxValue, settings.handshake_timeout);
        ngtcp2_transport_params parameters;
        ngtcp2_transport_params_default_versioned(1, &parameters);
        Assert.Equal(65527UL, parameters.max_udp_payload_size);
        Assert.Equal(25_000_000UL, parameters.max_ack_delay);
        Assert.Equal(2UL, parameters.active_connection_id_limit);
    }
}
