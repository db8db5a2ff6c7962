// A node's key and the certificate that carries it. ECDSA P-256, self-signed, made at first start and kept in one PEM file
// that only its owner can read; the NodeId is the hash of the public key, so a new file is a new node.
// Names and dates in the certificate say nothing: it is valid from 2020 to the end of time (RFC 5280, 4.1.2.5).
// Invariant: the key leaves this file only into the TLS libraries of this process.
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace OrionNative.Net.Identity;

/// <summary>The identity of this node, for both transports.</summary>
public sealed class NodeIdentity : IDisposable
{
    const string FileName = "identity.pem";
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute
        | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;

    static readonly DateTimeOffset _notBefore = new(2020, 1, 1, 0, 0, 0, TimeSpan.Zero);
    static readonly DateTimeOffset _notAfter = new(9999, 12, 31, 23, 59, 59, TimeSpan.Zero);

    readonly AsymmetricAlgorithm _key;

    NodeIdentity(AsymmetricAlgorithm key, X509Certificate2 certificate)
    {
        _key = key;
        Certificate = certificate;
        Id = NodeId.Of(certificate);
    }

    /// <summary>Who this node is.</summary>
    public NodeId Id { get; }

    /// <summary>The certificate together with its private key, as SslStream wants it.</summary>
    public X509Certificate2 Certificate { get; }

    /// <summary>A new identity that is kept nowhere.</summary>
    public static NodeIdentity Create()
    {
        var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=orion-node", key, HashAlgorithmName.SHA256);
        return new NodeIdentity(key, request.CreateSelfSigned(_notBefore, _notAfter));
    }

    /// <summary>An identity with a certificate of somebody's choice; tests make bad ones with it.</summary>
    internal static NodeIdentity Of(AsymmetricAlgorithm key, X509Certificate2 certificate) => new(key, certificate);

    /// <summary>Loads <c>identity.pem</c> from a directory; makes both if they are missing. Throws
    /// <see cref="IdentityException"/> when the file cannot be read or written, is readable by others, or is damaged.</summary>
    public static NodeIdentity LoadOrCreate(string directory)
    {
        string path = Path.Combine(directory, FileName);
        try
        {
            if (!File.Exists(path))
            {
                Directory.CreateDirectory(directory, OwnerOnly | UnixFileMode.UserExecute);
                using var made = Create();
                made.Save(path);
            }
            return Load(path);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException and not IdentityException)
        {
            throw new IdentityException($"The node's key {path} cannot be read or made: {e.Message} Fix: give this user a folder that it may write to, with room for a file of 1 kB.");
        }
    }

    static NodeIdentity Load(string path)
    {
        var mode = File.GetUnixFileMode(path);
        if ((mode & Others) != 0)
        {
            throw new IdentityException($"The node's key {path} can be used by others (mode {Convert.ToString((int)mode, 8)}, expected 600). Fix: chmod 600 '{path}'.");
        }
        string pem = File.ReadAllText(path);
        try
        {
            var key = ECDsa.Create();
            key.ImportFromPem(Section(pem, "PRIVATE KEY"));
            using var bare = X509Certificate2.CreateFromPem(Section(pem, "CERTIFICATE"));
            return new NodeIdentity(key, bare.CopyWithPrivateKey(key));
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new IdentityException($"The node's key {path} is damaged: {e.Message} Fix: restore it from a copy, or delete it to become a new node.");
        }
    }

    static ReadOnlySpan<char> Section(string pem, string label)
    {
        ReadOnlySpan<char> rest = pem;
        while (PemEncoding.TryFind(rest, out var fields))
        {
            if (rest[fields.Label].SequenceEqual(label)) return rest[fields.Location];
            rest = rest[fields.Location.End..];
        }
        throw new ArgumentException($"it has no section \"{label}\".");
    }

    // Written under a name of its own and linked into place (a move that does not overwrite is link and unlink), so that two
    // starts at once agree on one key and nobody ever sees half a file.
    void Save(string path)
    {
        string beside = $"{path}.{RandomNumberGenerator.GetHexString(16, lowercase: true)}";
        byte[] pem = Encoding.ASCII.GetBytes(Certificate.ExportCertificatePem() + "\n" + _key.ExportPkcs8PrivateKeyPem() + "\n");
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = OwnerOnly };
        try
        {
            using (var file = new FileStream(beside, options))
            {
                file.Write(pem);
                file.Flush(flushToDisk: true);
            }
            File.Move(beside, path, overwrite: false);
        }
        catch (IOException) when (File.Exists(path))
        {
            // another start was first: its key is this node's
        }
        finally
        {
            CryptographicOperations.ZeroMemory(pem);
            File.Delete(beside);
        }
    }

    /// <summary>The private key in PKCS #8 DER, for GnuTLS; the caller zeroes it.</summary>
    internal byte[] ExportPrivateKey() => _key.ExportPkcs8PrivateKey();

    /// <summary>32 secret bytes that depend on the key and a label alone: the same after every restart.</summary>
    internal byte[] DeriveSecret(string label)
    {
        byte[] key = ExportPrivateKey();
        byte[] secret = HKDF.DeriveKey(HashAlgorithmName.SHA256, key, NodeId.Bytes, info: Encoding.ASCII.GetBytes(label));
        CryptographicOperations.ZeroMemory(key);
        return secret;
    }

    /// <summary>Forgets the key.</summary>
    public void Dispose()
    {
        Certificate.Dispose();
        _key.Dispose();
    }
}

/// <summary>A node's key cannot be used; the message has the fix.</summary>
public sealed class IdentityException(string message) : IOException(message);
