// Compiled kernels on disk: one file per key, digest | log length | log | image. A file is written beside its place and
// renamed when whole, so any number of processes may share the folder; one that fails its digest is compiled again.
using System.Security.Cryptography;
using System.Text;

namespace OrionNative.Kernels.Cuda;

sealed class CubinCache(string folder)
{
    const int DigestBytes = 32;

    /// <summary>$ORION_CUBIN_CACHE, else orion/cubin in the user's cache folder.</summary>
    public static CubinCache Default() => new(DefaultFolder);

    /// <summary>Where what is compiled or measured once a machine is kept.</summary>
    public static string DefaultFolder
    {
        get
        {
            string? chosen = Environment.GetEnvironmentVariable("ORION_CUBIN_CACHE");
            string? home = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            string caches = string.IsNullOrEmpty(home)
                ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache")
                : home;
            return string.IsNullOrEmpty(chosen) ? Path.Combine(caches, "orion", "cubin") : chosen;
        }
    }

    public bool TryRead(string key, out byte[] image, out string log)
    {
        (image, log) = ([], "");
        byte[] file;
        try
        {
            file = File.ReadAllBytes(PathOf(key));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return false;
        }

        if (file.Length < DigestBytes + sizeof(int))
        {
            return false;
        }

        ReadOnlySpan<byte> body = file.AsSpan(DigestBytes);
        int logBytes = BitConverter.ToInt32(body);
        if (!SHA256.HashData(body).AsSpan().SequenceEqual(file.AsSpan(0, DigestBytes)) || (uint)logBytes > (uint)(body.Length - sizeof(int)))
        {
            return false;
        }

        log = Encoding.UTF8.GetString(body.Slice(sizeof(int), logBytes));
        image = body[(sizeof(int) + logBytes)..].ToArray();
        return true;
    }

    /// <exception cref="IOException">The folder cannot be written; the message has the fix.</exception>
    public void Write(string key, byte[] image, string log)
    {
        byte[] text = Encoding.UTF8.GetBytes(log);
        byte[] body = [.. BitConverter.GetBytes(text.Length), .. text, .. image];
        try
        {
            Directory.CreateDirectory(folder);
            string beside = Path.Combine(folder, $"{key}.{Guid.NewGuid():N}.part");
            using (FileStream file = new(beside, FileMode.CreateNew))
            {
                file.Write(SHA256.HashData(body));
                file.Write(body);
            }

            File.Move(beside, PathOf(key), overwrite: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"a compiled kernel of {body.Length} bytes cannot be kept in {folder}: {error.Message}; fix: let ORION_CUBIN_CACHE name a folder that can be written", error);
        }
    }

    public string PathOf(string key) => Path.Combine(folder, key + ".cubin");
}
