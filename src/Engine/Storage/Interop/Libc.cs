// The three calls of the C library that .NET lacks: making a directory's entries durable needs fsync on a directory
// descriptor, which FileStream refuses to open.
using System.Runtime.InteropServices;

namespace OrionNative.Engine.Storage.Interop;

static partial class Libc
{
    const string Library = "libc";

    public const int O_RDONLY = 0;

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int open(string path, int flags);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int fsync(int descriptor);

    [LibraryImport(Library, SetLastError = true)]
    public static partial int close(int descriptor);
}
