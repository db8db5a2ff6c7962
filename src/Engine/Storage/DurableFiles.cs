// Files that are there whole or not at all, also after a power cut: write beside, fsync the file, rename over the place,
// fsync the directory. POSIX makes the rename atomic; without the last fsync it may be forgotten.
using System.ComponentModel;
using System.Runtime.InteropServices;
using OrionNative.Engine.Storage.Interop;

namespace OrionNative.Engine.Storage;

static class DurableFiles
{
    /// <summary>Puts <paramref name="content"/> at <paramref name="path"/>, replacing what is there in one instant.</summary>
    public static void Replace(string path, ReadOnlySpan<byte> content)
    {
        string partial = path + ".partial";
        try
        {
            using (var stream = new FileStream(partial, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0))
            {
                stream.Write(content);
                stream.Flush(flushToDisk: true);
            }
            File.Move(partial, path, overwrite: true);
        }
        catch (IOException)
        {
            File.Delete(partial);
            throw;
        }
        FlushDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    /// <summary>Makes the names in a directory durable.</summary>
    /// <exception cref="IOException">The operating system refused.</exception>
    public static void FlushDirectory(string directory)
    {
        int descriptor = Libc.open(directory, Libc.O_RDONLY);
        if (descriptor < 0)
            throw Failure(directory);
        int status = Libc.fsync(descriptor);
        IOException? failure = status < 0 ? Failure(directory) : null;
        _ = Libc.close(descriptor);
        if (failure is not null)
            throw failure;
    }

    static IOException Failure(string directory) =>
        new($"Cannot make the names in '{directory}' durable: {new Win32Exception(Marshal.GetLastPInvokeError()).Message}.");
}
