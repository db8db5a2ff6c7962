// Finds ngtcp2, its GnuTLS glue and GnuTLS once per process, and checks that they are what the bindings were written for.
// Looked for, in this order: what the loader knows (LD_LIBRARY_PATH, ldconfig), then <ORION_ROOT>/.local, where `./orion`
// unpacks the Debian packages. A library once loaded by path serves every later import of its soname.
// Absence or a wrong version is a stored reason with the fix, never a crash: TCP can be chosen instead, by the operator.
using System.Runtime.InteropServices;
using OrionNative.Net.Quic.Interop;

namespace OrionNative.Net.Quic;

/// <summary>Whether QUIC can be used on this machine.</summary>
public static unsafe class QuicLibrary
{
    const int VersionMin = 0x010b00, VersionEnd = 0x020000;
    const string Fix = "install libngtcp2-16 and libngtcp2-crypto-gnutls8 (1.11 or newer, Debian bookworm-backports or trixie), or run `./orion doctor`, which fetches and unpacks them";

    static readonly (string? Reason, nint Crypto) _loaded = Load();

    /// <summary>True if QUIC can be used.</summary>
    public static bool IsSupported => NotSupportedReason is null;

    /// <summary>Why not, with the fix; null if it can.</summary>
    public static string? NotSupportedReason => _loaded.Reason;

    /// <summary>Throws <see cref="PlatformNotSupportedException"/> with the reason if QUIC cannot be used.</summary>
    public static void ThrowIfNotSupported()
    {
        if (NotSupportedReason is { } reason) throw new PlatformNotSupportedException(reason);
    }

    internal static nint CryptoFunction(string name) => NativeLibrary.GetExport(_loaded.Crypto, name);

    static (string?, nint) Load()
    {
        if (!OperatingSystem.IsLinux() || !Environment.Is64BitProcess) return ("QUIC needs 64-bit Linux; use TCP (`--transport tcp`).", 0);
        if (LayoutMistake() is { } mistake) return ($"QUIC: the binding's {mistake}; this is a bug in OrionNative.", 0);
        string root = Environment.GetEnvironmentVariable("ORION_ROOT") ?? "";
        string triple = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
        string folder = Path.Combine(root, ".local", "usr", "lib", triple);
        nint crypto = 0;
        foreach (string library in (string[])[GnuTls.Library, Ngtcp2.Library, Ngtcp2Crypto.Library])
        {
            if (NativeLibrary.TryLoad(library, out crypto)) continue;
            if (root.Length > 0 && NativeLibrary.TryLoad(Path.Combine(folder, library), out crypto)) continue;
            string tried = root.Length > 0 ? $"the loader's path and {folder}" : "the loader's path (ORION_ROOT is not set)";
            return ($"QUIC needs {library}; looked in {tried}. Fix: {Fix}.", 0);
        }
        var info = Ngtcp2.ngtcp2_version(0);
        if (info->version_num is < VersionMin or >= VersionEnd)
        {
            return ($"QUIC needs ngtcp2 1.11 or newer, below 2.0; found {Marshal.PtrToStringUTF8((nint)info->version_str)}. Fix: {Fix}.", 0);
        }
        fixed (byte* required = "3.7.2\0"u8)
        {
            if (GnuTls.gnutls_check_version(required) == null)
            {
                string found = Marshal.PtrToStringUTF8((nint)GnuTls.gnutls_check_version(null)) ?? "an unknown version";
                return ($"QUIC needs GnuTLS 3.7.2 or newer; found {found}. Fix: install libgnutls30 of Debian 12 or newer.", 0);
            }
        }
        return (null, crypto);
    }

    // The sizes that a C program printed against ngtcp2.h v1.11.0; a wrong one would corrupt memory, so it is checked at load.
    static string? LayoutMistake()
    {
        static string? Wrong(string type, int size, int expected) => size == expected ? null : $"{type} has {size} bytes instead of {expected}";
        return Wrong("ngtcp2_cid", sizeof(Ngtcp2.ngtcp2_cid), 32)
            ?? Wrong("ngtcp2_path", sizeof(Ngtcp2.ngtcp2_path), 40)
            ?? Wrong("ngtcp2_pkt_info", sizeof(Ngtcp2.ngtcp2_pkt_info), 8)
            ?? Wrong("ngtcp2_pkt_hd", sizeof(Ngtcp2.ngtcp2_pkt_hd), 112)
            ?? Wrong("ngtcp2_version_cid", sizeof(Ngtcp2.ngtcp2_version_cid), 40)
            ?? Wrong("ngtcp2_settings", sizeof(Ngtcp2.ngtcp2_settings), 184)
            ?? Wrong("ngtcp2_transport_params", sizeof(Ngtcp2.ngtcp2_transport_params), 344)
            ?? Wrong("ngtcp2_conn_info", sizeof(Ngtcp2.ngtcp2_conn_info), 56)
            ?? Wrong("ngtcp2_ccerr", sizeof(Ngtcp2.ngtcp2_ccerr), 40)
            ?? Wrong("ngtcp2_callbacks", sizeof(Ngtcp2.ngtcp2_callbacks), 320);
    }
}
