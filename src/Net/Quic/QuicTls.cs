// The TLS half of a QUIC endpoint: one GnuTLS credential (this node's certificate and key) and one priority string, shared by
// all sessions. TLS 1.3 only, AES-128-GCM first (the fastest with AES instructions), X25519 or P-256, ALPN orion/1 mandatory,
// client certificate required, no tickets, no early data: 0-RTT can be replayed, and connections here live for hours.
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Quic;

sealed unsafe class QuicTls : IDisposable
{
    static ReadOnlySpan<byte> Priorities =>
        "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:%DISABLE_TLS13_COMPAT_MODE\0"u8;

    static ReadOnlySpan<byte> Protocol => "orion/1"u8;

    readonly nint _credentials;
    readonly nint _priority;

    public QuicTls(NodeIdentity identity, bool isAnonymous)
    {
        nint credentials, priority;
        GnuTls.ThrowIfFailed(GnuTls.gnutls_certificate_allocate_credentials(&credentials), "allocating credentials");
        _credentials = credentials;
        if (!isAnonymous) Load(identity);
        fixed (byte* text = Priorities) GnuTls.ThrowIfFailed(GnuTls.gnutls_priority_init(&priority, text, null), "setting priorities");
        _priority = priority;
    }

    void Load(NodeIdentity identity)
    {
        byte[] certificate = identity.Certificate.RawData, key = identity.ExportPrivateKey();
        fixed (byte* c = certificate, k = key)
        {
            var certificateDatum = new GnuTls.gnutls_datum_t { data = c, size = (uint)certificate.Length };
            var keyDatum = new GnuTls.gnutls_datum_t { data = k, size = (uint)key.Length };
            int status = GnuTls.gnutls_certificate_set_x509_key_mem(_credentials, &certificateDatum, &keyDatum, GnuTls.GNUTLS_X509_FMT_DER);
            CryptographicOperations.ZeroMemory(key);
            GnuTls.ThrowIfFailed(status, "loading this node's certificate and key");
        }
    }

    /// <summary>A session whose callbacks find their connection through <paramref name="reference"/>.</summary>
    public nint NewSession(bool server, Ngtcp2Crypto.ngtcp2_crypto_conn_ref* reference)
    {
        nint session;
        uint flags = (server ? GnuTls.GNUTLS_SERVER : GnuTls.GNUTLS_CLIENT) | GnuTls.GNUTLS_NO_END_OF_EARLY_DATA | GnuTls.GNUTLS_NO_AUTO_SEND_TICKET | GnuTls.GNUTLS_NO_TICKETS;
        GnuTls.ThrowIfFailed(GnuTls.gnutls_init(&session, flags), "opening a session");
        GnuTls.ThrowIfFailed(GnuTls.gnutls_priority_set(session, _priority), "setting priorities");
        GnuTls.ThrowIfFailed(GnuTls.gnutls_credentials_set(session, GnuTls.GNUTLS_CRD_CERTIFICATE, _credentials), "setting credentials");
        fixed (byte* protocol = Protocol)
        {
            var datum = new GnuTls.gnutls_datum_t { data = protocol, size = (uint)Protocol.Length };
            GnuTls.ThrowIfFailed(GnuTls.gnutls_alpn_set_protocols(session, &datum, 1, GnuTls.GNUTLS_ALPN_MANDATORY), "setting ALPN");
        }
        if (server)
        {
            GnuTls.ThrowIfFailed(Ngtcp2Crypto.ngtcp2_crypto_gnutls_configure_server_session(session), "preparing for QUIC");
            GnuTls.gnutls_certificate_server_set_request(session, GnuTls.GNUTLS_CERT_REQUIRE);
        }
        else GnuTls.ThrowIfFailed(Ngtcp2Crypto.ngtcp2_crypto_gnutls_configure_client_session(session), "preparing for QUIC");
        GnuTls.gnutls_session_set_ptr(session, reference);
        return session;
    }

    /// <summary>The certificate that the peer proved to own, DER; empty if it showed none or more than one.</summary>
    public static ReadOnlySpan<byte> PeerCertificate(nint session)
    {
        uint count;
        var datum = GnuTls.gnutls_certificate_get_peers(session, &count);
        return datum == null || count != 1 ? default : new ReadOnlySpan<byte>(datum->data, (int)datum->size);
    }

    public static string Cipher(nint session) => Marshal.PtrToStringUTF8((nint)GnuTls.gnutls_cipher_get_name(GnuTls.gnutls_cipher_get(session))) ?? "unknown cipher";

    public static string DescribeAlert(byte alert) => Marshal.PtrToStringUTF8((nint)GnuTls.gnutls_alert_get_name(alert)) ?? $"alert {alert}";

    public void Dispose()
    {
        GnuTls.gnutls_certificate_free_credentials(_credentials);
        GnuTls.gnutls_priority_deinit(_priority);
    }
}
