// ngtcp2's glue to GnuTLS (libngtcp2_crypto_gnutls.so.8, 1.11): packet protection, key schedule, Retry and reset tokens.
// The *_cb functions are never called from here; their addresses go into ngtcp2's callback table.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Quic.Interop;

static unsafe partial class Ngtcp2Crypto
{
    public const string Library = "libngtcp2_crypto_gnutls.so.8";

    /// <summary>NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2.</summary>
    public const int RetryTokenBytesMax = 90;

    /// <summary>How GnuTLS finds the connection of a session: the session's pointer leads here.</summary>
    public struct ngtcp2_crypto_conn_ref
    {
        public delegate* unmanaged[Cdecl]<ngtcp2_crypto_conn_ref*, nint> get_conn;
        public void* user_data;
    }

    [LibraryImport(Library)]
    public static partial int ngtcp2_crypto_gnutls_configure_server_session(nint session);

    [LibraryImport(Library)]
    public static partial int ngtcp2_crypto_gnutls_configure_client_session(nint session);

    [LibraryImport(Library)]
    public static partial int ngtcp2_crypto_generate_stateless_reset_token(byte* token, byte* secret, nuint secretlen, Ngtcp2.ngtcp2_cid* cid);

    [LibraryImport(Library)]
    public static partial nint ngtcp2_crypto_generate_retry_token2(
        byte* token, byte* secret, nuint secretlen, uint version, byte* remote, uint remotelen,
        Ngtcp2.ngtcp2_cid* retry_scid, Ngtcp2.ngtcp2_cid* odcid, ulong ts);

    [LibraryImport(Library)]
    public static partial int ngtcp2_crypto_verify_retry_token2(
        Ngtcp2.ngtcp2_cid* odcid, byte* token, nuint tokenlen, byte* secret, nuint secretlen, uint version,
        byte* remote, uint remotelen, Ngtcp2.ngtcp2_cid* dcid, ulong timeout, ulong ts);

    [LibraryImport(Library)]
    public static partial nint ngtcp2_crypto_write_retry(
        byte* dest, nuint destlen, uint version, Ngtcp2.ngtcp2_cid* dcid, Ngtcp2.ngtcp2_cid* scid, Ngtcp2.ngtcp2_cid* odcid,
        byte* token, nuint tokenlen);

    [LibraryImport(Library)]
    public static partial nint ngtcp2_crypto_write_connection_close(
        byte* dest, nuint destlen, uint version, Ngtcp2.ngtcp2_cid* dcid, Ngtcp2.ngtcp2_cid* scid, ulong code, byte* reason, nuint reasonlen);
}
