// ngtcp2 1.11 (libngtcp2.so.16): the QUIC state machine, without sockets, clocks or TLS of its own.
// Layouts as in ngtcp2.h v1.11.0; QuicLibrary compares their sizes at load, a test compares sizes and offsets with what a C
// program printed. Functions that are macros in C are bound by their *_versioned names with the versions of 1.11.
// A failed assertion inside ends the process, so timestamps must never go backwards and lengths are checked here.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Quic.Interop;

static unsafe partial class Ngtcp2
{
    public const string Library = "libngtcp2.so.16";

    public const uint NGTCP2_PROTO_VER_V1 = 1;
    public const int NGTCP2_CC_ALGO_CUBIC = 1;
    public const int NGTCP2_CC_ALGO_BBR = 2;
    public const int NGTCP2_TOKEN_TYPE_RETRY = 1;
    public const uint NGTCP2_STREAM_DATA_FLAG_FIN = 1;
    public const uint NGTCP2_WRITE_STREAM_FLAG_MORE = 1;
    public const int NGTCP2_STATELESS_RESET_TOKENLEN = 16;
    public const int NGTCP2_MIN_STATELESS_RESET_RANDLEN = 5;
    public const int NGTCP2_MAX_UDP_PAYLOAD_SIZE = 1200;
    public const ulong NGTCP2_INVALID_TOKEN = 0xb;
    public const ulong NGTCP2_APPLICATION_ERROR = 0xc;
    public const ulong NGTCP2_CRYPTO_ERROR = 0x100;

    public const int NGTCP2_ERR_STREAM_DATA_BLOCKED = -208;
    public const int NGTCP2_ERR_CRYPTO = -213;
    public const int NGTCP2_ERR_STREAM_SHUT_WR = -219;
    public const int NGTCP2_ERR_CLOSING = -223;
    public const int NGTCP2_ERR_DRAINING = -224;
    public const int NGTCP2_ERR_CONN_ID_BLOCKED = -227;
    public const int NGTCP2_ERR_WRITE_MORE = -230;
    public const int NGTCP2_ERR_RETRY = -231;
    public const int NGTCP2_ERR_DROP_CONN = -232;
    public const int NGTCP2_ERR_VERSION_NEGOTIATION = -235;
    public const int NGTCP2_ERR_HANDSHAKE_TIMEOUT = -236;
    public const int NGTCP2_ERR_IDLE_CLOSE = -238;
    public const int NGTCP2_ERR_CALLBACK_FAILURE = -502;

    public const int NGTCP2_CCERR_TYPE_APPLICATION = 1;
    public const int NGTCP2_ENCRYPTION_LEVEL_1RTT = 2;

    public struct ngtcp2_info
    {
        public int age, version_num;
        public byte* version_str;
    }

    public struct ngtcp2_cid
    {
        public nuint datalen;
        public fixed byte data[20];
    }

    public struct ngtcp2_vec
    {
        public byte* @base;
        public nuint len;
    }

    public struct ngtcp2_addr
    {
        public byte* addr;
        public uint addrlen;
    }

    public struct ngtcp2_path
    {
        public ngtcp2_addr local, remote;
        public void* user_data;
    }

    /// <summary>The C struct is one byte, aligned to eight.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 8)]
    public struct ngtcp2_pkt_info
    {
        public byte ecn;
    }

    public struct ngtcp2_pkt_hd
    {
        public ngtcp2_cid dcid, scid;
        public long pkt_num;
        public byte* token;
        public nuint tokenlen, pkt_numlen, len;
        public uint version;
        public byte type, flags;
    }

    public struct ngtcp2_version_cid
    {
        public uint version;
        public byte* dcid;
        public nuint dcidlen;
        public byte* scid;
        public nuint scidlen;
    }

    public struct ngtcp2_settings
    {
        public void* qlog_write;
        public int cc_algo;
        public ulong initial_ts, initial_rtt;
        public void* log_printf;
        public nuint max_tx_udp_payload_size;
        public byte* token;
        public nuint tokenlen;
        public int token_type;
        public void* rand_ctx;
        public ulong max_window, max_stream_window;
        public nuint ack_thresh;
        public byte no_tx_udp_payload_size_shaping;
        public ulong handshake_timeout;
        public uint* preferred_versions;
        public nuint preferred_versionslen;
        public uint* available_versions;
        public nuint available_versionslen;
        public uint original_version;
        public byte no_pmtud;
        public uint initial_pkt_num;
        public ushort* pmtud_probes;
        public nuint pmtud_probeslen;
    }

    public struct ngtcp2_preferred_addr
    {
        public ngtcp2_cid cid;
        public fixed byte ipv4[16];
        public fixed uint ipv6[7];
        public byte ipv4_present, ipv6_present;
        public fixed byte stateless_reset_token[16];
    }

    public struct ngtcp2_version_info
    {
        public uint chosen_version;
        public byte* available_versions;
        public nuint available_versionslen;
    }

    public struct ngtcp2_transport_params
    {
        public ngtcp2_preferred_addr preferred_addr;
        public ngtcp2_cid original_dcid, initial_scid, retry_scid;
        public ulong initial_max_stream_data_bidi_local, initial_max_stream_data_bidi_remote, initial_max_stream_data_uni;
        public ulong initial_max_data, initial_max_streams_bidi, initial_max_streams_uni;
        public ulong max_idle_timeout, max_udp_payload_size, active_connection_id_limit;
        public ulong ack_delay_exponent, max_ack_delay, max_datagram_frame_size;
        public byte stateless_reset_token_present, disable_active_migration, original_dcid_present;
        public byte initial_scid_present, retry_scid_present, preferred_addr_present;
        public fixed byte stateless_reset_token[16];
        public byte grease_quic_bit;
        public ngtcp2_version_info version_info;
        public byte version_info_present;
    }

    public struct ngtcp2_conn_info
    {
        public ulong latest_rtt, min_rtt, smoothed_rtt, rttvar, cwnd, ssthresh, bytes_in_flight;
    }

    public struct ngtcp2_ccerr
    {
        public int type;
        public ulong error_code, frame_type;
        public byte* reason;
        public nuint reasonlen;
    }

    /// <summary>Forty function pointers; those that stay null are not named.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40 * 8)]
    public struct ngtcp2_callbacks
    {
        [FieldOffset(0 * 8)] public nint client_initial;
        [FieldOffset(1 * 8)] public nint recv_client_initial;
        [FieldOffset(2 * 8)] public nint recv_crypto_data;
        [FieldOffset(3 * 8)] public delegate* unmanaged[Cdecl]<nint, void*, int> handshake_completed;
        [FieldOffset(5 * 8)] public nint encrypt;
        [FieldOffset(6 * 8)] public nint decrypt;
        [FieldOffset(7 * 8)] public nint hp_mask;
        [FieldOffset(8 * 8)] public delegate* unmanaged[Cdecl]<nint, uint, long, ulong, byte*, nuint, void*, void*, int> recv_stream_data;
        [FieldOffset(9 * 8)] public delegate* unmanaged[Cdecl]<nint, long, ulong, ulong, void*, void*, int> acked_stream_data_offset;
        [FieldOffset(11 * 8)] public delegate* unmanaged[Cdecl]<nint, uint, long, ulong, void*, void*, int> stream_close;
        [FieldOffset(12 * 8)] public delegate* unmanaged[Cdecl]<nint, void*, void*, int> recv_stateless_reset;
        [FieldOffset(13 * 8)] public nint recv_retry;
        [FieldOffset(16 * 8)] public delegate* unmanaged[Cdecl]<byte*, nuint, void*, void> rand;
        [FieldOffset(17 * 8)] public delegate* unmanaged[Cdecl]<nint, ngtcp2_cid*, byte*, nuint, void*, int> get_new_connection_id;
        [FieldOffset(18 * 8)] public delegate* unmanaged[Cdecl]<nint, ngtcp2_cid*, void*, int> remove_connection_id;
        [FieldOffset(19 * 8)] public nint update_key;
        [FieldOffset(29 * 8)] public nint delete_crypto_aead_ctx;
        [FieldOffset(30 * 8)] public nint delete_crypto_cipher_ctx;
        [FieldOffset(34 * 8)] public nint get_path_challenge_data;
        [FieldOffset(36 * 8)] public nint version_negotiation;
        [FieldOffset(38 * 8)] public delegate* unmanaged[Cdecl]<nint, int, void*, int> recv_tx_key;
    }

    [LibraryImport(Library)]
    public static partial ngtcp2_info* ngtcp2_version(int least_version);

    [LibraryImport(Library)]
    public static partial byte* ngtcp2_strerror(int liberr);

    [LibraryImport(Library)]
    public static partial void ngtcp2_settings_default_versioned(int settings_version, ngtcp2_settings* settings);

    [LibraryImport(Library)]
    public static partial void ngtcp2_transport_params_default_versioned(int transport_params_version, ngtcp2_transport_params* parameters);

    [LibraryImport(Library)]
    public static partial int ngtcp2_conn_client_new_versioned(
        nint* conn, ngtcp2_cid* dcid, ngtcp2_cid* scid, ngtcp2_path* path, uint client_chosen_version,
        int callbacks_version, ngtcp2_callbacks* callbacks, int settings_version, ngtcp2_settings* settings,
        int transport_params_version, ngtcp2_transport_params* parameters, void* mem, void* user_data);

    [LibraryImport(Library)]
    public static partial int ngtcp2_conn_server_new_versioned(
        nint* conn, ngtcp2_cid* dcid, ngtcp2_cid* scid, ngtcp2_path* path, uint client_chosen_version,
        int callbacks_version, ngtcp2_callbacks* callbacks, int settings_version, ngtcp2_settings* settings,
        int transport_params_version, ngtcp2_transport_params* parameters, void* mem, void* user_data);

    [LibraryImport(Library)]
    public static partial void ngtcp2_conn_del(nint conn);

    [LibraryImport(Library)]
    public static partial void ngtcp2_conn_set_tls_native_handle(nint conn, nint tls);

    [LibraryImport(Library)]
    public static partial void ngtcp2_conn_set_keep_alive_timeout(nint conn, ulong timeout);

    [LibraryImport(Library)]
    public static partial void* ngtcp2_conn_get_remote_transport_params(nint conn);

    [LibraryImport(Library)]
    public static partial byte ngtcp2_conn_get_tls_alert(nint conn);

    [LibraryImport(Library)]
    public static partial int ngtcp2_conn_read_pkt_versioned(
        nint conn, ngtcp2_path* path, int pkt_info_version, ngtcp2_pkt_info* info, byte* packet, nuint bytes, ulong ts);

    [LibraryImport(Library)]
    public static partial nint ngtcp2_conn_writev_stream_versioned(
        nint conn, ngtcp2_path* path, int pkt_info_version, ngtcp2_pkt_info* info, byte* dest, nuint destlen,
        nint* datalen, uint flags, long stream_id, ngtcp2_vec* data, nuint count, ulong ts);

    [LibraryImport(Library)]
    public static partial nint ngtcp2_conn_write_connection_close_versioned(
        nint conn, ngtcp2_path* path, int pkt_info_version, ngtcp2_pkt_info* info, byte* dest, nuint destlen,
        ngtcp2_ccerr* error, ulong ts);

    [LibraryImport(Library), SuppressGCTransition]
    public static partial ulong ngtcp2_conn_get_expiry(nint conn);

    [LibraryImport(Library)]
    public static partial int ngtcp2_conn_handle_expiry(nint conn, ulong ts);

    [LibraryImport(Library)]
    public static partial void ngtcp2_conn_update_pkt_tx_time(nint conn, ulong ts);

    [LibraryImport(Library), SuppressGCTransition]
    public static partial nuint ngtcp2_conn_get_send_quantum(nint conn);

    [LibraryImport(Library), SuppressGCTransition]
    public static partial nuint ngtcp2_conn_get_path_max_tx_udp_payload_size(nint conn);

    [LibraryImport(Library)]
    public static partial void ngtcp2_conn_get_conn_info_versioned(nint conn, int conn_info_version, ngtcp2_conn_info* info);

    [LibraryImport(Library)]
    public static partial nuint ngtcp2_conn_get_stream_loss_count(nint conn, long stream_id);

    [LibraryImport(Library)]
    public static partial int ngtcp2_conn_open_uni_stream(nint conn, long* stream_id, void* stream_user_data);

    [LibraryImport(Library)]
    public static partial int ngtcp2_conn_extend_max_stream_offset(nint conn, long stream_id, ulong bytes);

    [LibraryImport(Library)]
    public static partial void ngtcp2_conn_extend_max_offset(nint conn, ulong bytes);

    [LibraryImport(Library)]
    public static partial ngtcp2_ccerr* ngtcp2_conn_get_ccerr(nint conn);

    [LibraryImport(Library)]
    public static partial void ngtcp2_ccerr_set_liberr(ngtcp2_ccerr* error, int liberr, byte* reason, nuint reasonlen);

    [LibraryImport(Library)]
    public static partial void ngtcp2_ccerr_set_tls_alert(ngtcp2_ccerr* error, byte alert, byte* reason, nuint reasonlen);

    [LibraryImport(Library)]
    public static partial void ngtcp2_ccerr_set_application_error(ngtcp2_ccerr* error, ulong code, byte* reason, nuint reasonlen);

    [LibraryImport(Library)]
    public static partial int ngtcp2_conn_initiate_immediate_migration(nint conn, ngtcp2_path* path, ulong ts);

    [LibraryImport(Library)]
    public static partial ngtcp2_path* ngtcp2_conn_get_path(nint conn);

    [LibraryImport(Library)]
    public static partial int ngtcp2_pkt_decode_version_cid(ngtcp2_version_cid* dest, byte* data, nuint bytes, nuint short_dcidlen);

    [LibraryImport(Library)]
    public static partial int ngtcp2_accept(ngtcp2_pkt_hd* dest, byte* packet, nuint bytes);

    [LibraryImport(Library)]
    public static partial nint ngtcp2_pkt_write_stateless_reset(byte* dest, nuint destlen, byte* token, byte* rand, nuint randlen);

    [LibraryImport(Library)]
    public static partial nint ngtcp2_pkt_write_version_negotiation(
        byte* dest, nuint destlen, byte unused_random, byte* dcid, nuint dcidlen, byte* scid, nuint scidlen, uint* versions, nuint count);

    public static string Describe(int liberr) => $"{Marshal.PtrToStringUTF8((nint)ngtcp2_strerror(liberr))} ({liberr})";
}
