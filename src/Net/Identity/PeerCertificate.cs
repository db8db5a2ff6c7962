// What a peer must show before its key counts: one X.509 certificate with an ECDSA P-256 key, issued to itself, valid today.
// TLS has proved by then that the peer owns the key. Everything else in the certificate is ignored: trust comes from the
// NodeId alone, which the dialler knows beforehand and the acceptor looks up. The one shape keeps oddities of certificate
// parsers out. The reason for a refusal is for this side's operator; on the wire it looks like any other refusal.
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace OrionNative.Net.Identity;

static class PeerCertificate
{
    const string P256 = "1.2.840.10045.3.1.7";
    const int BytesMax = 4096;

    /// <summary>The NodeId in a peer's certificate (DER), or false with the reason for refusing it.</summary>
    public static bool TryIdentify(ReadOnlySpan<byte> der, DateTimeOffset now, out NodeId id, out string? refusal)
    {
        id = default;
        refusal = null;
        if (der.IsEmpty) refusal = "the peer showed no certificate";
        else if (der.Length > BytesMax) refusal = $"the peer's certificate has {der.Length} bytes, at most {BytesMax} are read";
        else
        {
            try
            {
                using var certificate = X509CertificateLoader.LoadCertificate(der);
                id = NodeId.Of(certificate);
                refusal = Check(certificate, now);
            }
            catch (CryptographicException e)
            {
                refusal = $"the peer's certificate cannot be read: {e.Message}";
            }
        }
        return refusal is null;
    }

    static string? Check(X509Certificate2 certificate, DateTimeOffset now)
    {
        using var key = certificate.GetECDsaPublicKey();
        if (key is null || key.ExportParameters(false).Curve.Oid.Value != P256) return "the peer's certificate carries no ECDSA P-256 key";
        if (now < certificate.NotBefore || now > certificate.NotAfter)
        {
            return $"the peer's certificate is valid from {certificate.NotBefore:yyyy-MM-dd} to {certificate.NotAfter:yyyy-MM-dd}; this machine's clock says {now:yyyy-MM-dd}";
        }
        if (!certificate.SubjectName.RawData.AsSpan().SequenceEqual(certificate.IssuerName.RawData)) return "the peer's certificate is not issued to itself";
        return null;
    }
}
