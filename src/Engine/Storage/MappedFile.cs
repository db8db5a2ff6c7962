// A file mapped into memory for reading: nothing is copied, pages come as they are touched, several processes share them.
// The address stays valid until Dispose. A file that is cut while it is mapped ends the process (SIGBUS), so whoever
// replaces a file does it by rename, which leaves the mapped one alone.
using System.IO.MemoryMappedFiles;

namespace OrionNative.Engine.Storage;

sealed unsafe class MappedFile : IDisposable
{
    readonly MemoryMappedFile? _map;
    readonly MemoryMappedViewAccessor? _view;
    bool _disposed;

    /// <exception cref="InvalidDataException">The file is missing or cannot be read.</exception>
    public MappedFile(string path)
    {
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 0);
            Bytes = stream.Length;
            if (Bytes == 0)
                return;
            _map = MemoryMappedFile.CreateFromFile(stream, mapName: null, capacity: 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            _view = _map.CreateViewAccessor(0, Bytes, MemoryMappedFileAccess.Read);
            byte* address = null;
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref address);
            Address = address + _view.PointerOffset;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            _view?.Dispose();
            _map?.Dispose();
            throw new InvalidDataException($"Cannot read '{path}': {error.Message}", error);
        }
    }

    /// <summary>The first byte; null for an empty file.</summary>
    public byte* Address { get; }

    /// <summary>Size of the file.</summary>
    public long Bytes { get; }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        if (Address is not null)
            _view!.SafeMemoryMappedViewHandle.ReleasePointer();
        _view?.Dispose();
        _map?.Dispose();
    }
}
