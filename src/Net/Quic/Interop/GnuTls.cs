// GnuTLS 3.7.2 or newer (libgnutls.so.30): TLS 1.3 for QUIC. Only what a session with a pinned key on both sides needs.
// GnuTLS checks that the peer owns the key of its certificate; it does not check whose key that is. PeerCertificate does.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Quic.Interop;

static unsafe partial class GnuTls
{
    public const string Library = "libgnutls.so.30";

    public const uint GNUTLS_SERVER = 1;
    public const uint GNUTLS_CLIENT = 2;
    public const uint GNUTLS_NO_AUTO_SEND_TICKET = 1 << 21;
    public const uint GNUTLS_NO_END_OF_EARLY_DATA = 1 << 22;
    public const uint GNUTLS_NO_TICKETS = 1 << 10;
    public const int GNUTLS_CRD_CERTIFICATE = 1;
    public const int GNUTLS_CERT_REQUIRE = 2;
    public const int GNUTLS_X509_FMT_DER = 0;
    public const uint GNUTLS_ALPN_MANDATORY = 1;

    public struct gnutls_datum_t
    {
        public byte* data;
        public uint size;
    }

    [LibraryImport(Library)]
    public static partial byte* gnutls_check_version(byte* required);

    [LibraryImport(Library)]
    public static partial byte* gnutls_strerror(int error);

    [LibraryImport(Library)]
    public static partial byte* gnutls_alert_get_name(int alert);

    [LibraryImport(Library)]
    public static partial int gnutls_cipher_get(nint session);

    [LibraryImport(Library)]
    public static partial byte* gnutls_cipher_get_name(int cipher);

    [LibraryImport(Library)]
    public static partial int gnutls_certificate_allocate_credentials(nint* credentials);

    [LibraryImport(Library)]
    public static partial void gnutls_certificate_free_credentials(nint credentials);

    [LibraryImport(Library)]
    public static partial int gnutls_certificate_set_x509_key_mem(nint credentials, gnutls_datum_t* certificate, gnutls_datum_t* key, int format);

    [LibraryImport(Library)]
    public static partial int gnutls_init(nint* session, uint flags);

    [LibraryImport(Library)]
    public static partial void gnutls_deinit(nint session);

    [LibraryImport(Library)]
    public static partial int gnutls_priority_init(nint* priority, byte* text, byte** error);

    [LibraryImport(Library)]
    public static partial void gnutls_priority_deinit(nint priority);

    [LibraryImport(Library)]
    public static partial int gnutls_priority_set(nint session, nint priority);

    [LibraryImport(Library)]
    public static partial int gnutls_credentials_set(nint session, int type, nint credentials);

    [LibraryImport(Library)]
    public static partial void gnutls_certificate_server_set_request(nint session, int request);

    [LibraryImport(Library)]
    public static partial int gnutls_alpn_set_protocols(nint session, gnutls_datum_t* protocols, uint count, uint flags);

    [LibraryImport(Library)]
    public static partial void gnutls_session_set_ptr(nint session, void* pointer);

    [LibraryImport(Library)]
    public static partial gnutls_datum_t* gnutls_certificate_get_peers(nint session, uint* count);

    public static void ThrowIfFailed(int status, string what)
    {
        if (status < 0) throw new InvalidOperationException($"GnuTLS: {what} failed: {Marshal.PtrToStringUTF8((nint)gnutls_strerror(status))} ({status})");
    }
}
