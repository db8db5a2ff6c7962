// Reads safetensors by mapping the file: a tensor is a view, nothing is copied. The file is not trusted: the header's
// length, every shape and every range are checked against the size of the file before an address is handed out, and the
// tensors must cover the data exactly, without gap or overlap, as the format demands.
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text.Json;
using OrionNative.Engine.Storage;

namespace OrionNative.Engine.Checkpoint;

/// <summary>A tensor inside a mapped file; valid until the file is disposed.</summary>
readonly unsafe struct TensorView(string name, TensorType type, IReadOnlyList<long> shape, nint address, long bytes)
{
    public string Name => name;

    public TensorType Type => type;

    public IReadOnlyList<long> Shape => shape;

    /// <summary>The first byte, aligned to the element where the writer kept the convention.</summary>
    public nint Address => address;

    /// <summary>Size of the tensor.</summary>
    public long Bytes => bytes;

    /// <summary>The elements; the tensor must be below 2^31 of them.</summary>
    public ReadOnlySpan<T> Elements<T>() where T : unmanaged
    {
        if (Unsafe.SizeOf<T>() != type.Bytes())
            throw new InvalidOperationException($"Tensor {name} is {type}; its elements are not {typeof(T).Name}.");
        return new ReadOnlySpan<T>((void*)address, checked((int)(bytes / Unsafe.SizeOf<T>())));
    }

    /// <summary>Copies the tensor to memory of exactly its size.</summary>
    public void CopyTo(nint destination, long destinationBytes)
    {
        if (destinationBytes != bytes)
            throw new InvalidDataException($"Tensor {name} is {type} [{string.Join(',', shape)}], {bytes} bytes; the model has room for {destinationBytes}. The checkpoint is of another model.");
        Buffer.MemoryCopy((void*)address, (void*)destination, destinationBytes, bytes);
    }
}

/// <summary>A safetensors file, memory-mapped.</summary>
sealed unsafe class SafetensorsFile : IDisposable
{
    /// <summary>The format's own limit on the header.</summary>
    public const long HeaderBytesMax = 100_000_000;

    readonly MappedFile _file;
    readonly Dictionary<string, TensorView> _tensors = [];
    readonly Dictionary<string, string> _metadata = [];

    /// <exception cref="InvalidDataException">The file is not whole safetensors; the message says what is wrong where.</exception>
    public SafetensorsFile(string path)
    {
        Path = path;
        _file = new MappedFile(path);
        try
        {
            ReadHeader();
        }
        catch (Exception error)
        {
            _file.Dispose();
            if (error is JsonException or InvalidOperationException or KeyNotFoundException or FormatException or OverflowException)
                throw Broken($"its header is not valid: {error.Message}", error);
            throw;
        }
    }

    public string Path { get; }

    /// <summary>Tensors by name.</summary>
    public IReadOnlyDictionary<string, TensorView> Tensors => _tensors;

    /// <summary>The <c>__metadata__</c> of the header.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    void ReadHeader()
    {
        if (_file.Bytes < 8)
            throw Broken($"it has {_file.Bytes} bytes, fewer than the 8 that hold the header's length");
        ulong headerBytes = BinaryPrimitives.ReadUInt64LittleEndian(new ReadOnlySpan<byte>(_file.Address, 8));
        if (headerBytes > HeaderBytesMax)
            throw Broken($"its header claims {headerBytes} bytes; the format allows {HeaderBytesMax}");
        if (headerBytes > (ulong)(_file.Bytes - 8))
            throw Broken($"its header claims {headerBytes} bytes, the file has {_file.Bytes - 8} after the length");

        long dataBytes = _file.Bytes - 8 - (long)headerBytes;
        byte* data = _file.Address + 8 + headerBytes;
        var reader = new Utf8JsonReader(new ReadOnlySpan<byte>(_file.Address + 8, (int)headerBytes));
        using JsonDocument header = JsonDocument.ParseValue(ref reader);
        var ranges = new List<(long Begin, long End, string Name)>();
        foreach (JsonProperty entry in header.RootElement.EnumerateObject())
        {
            if (entry.Name == "__metadata__")
            {
                foreach (JsonProperty item in entry.Value.EnumerateObject())
                    _metadata[item.Name] = item.Value.GetString()!;
                continue;
            }
            TensorView view = ReadEntry(entry, data, dataBytes, out long begin);
            if (!_tensors.TryAdd(entry.Name, view))
                throw Broken($"tensor '{entry.Name}' appears twice");
            ranges.Add((begin, begin + view.Bytes, entry.Name));
        }
        RequireCover(ranges, dataBytes);
    }

    TensorView ReadEntry(JsonProperty entry, byte* data, long dataBytes, out long begin)
    {
        JsonElement value = entry.Value;
        string dtype = value.GetProperty("dtype").GetString()!;
        if (!Enum.TryParse(dtype, out TensorType type) || type.ToString() != dtype)
            throw Broken($"tensor '{entry.Name}' has the element type '{dtype}', which is not read here");
        long[] shape = [.. value.GetProperty("shape").EnumerateArray().Select(extent => extent.GetInt64())];
        long bytes = type.Bytes();
        foreach (long extent in shape)
        {
            if (extent < 0)
                throw Broken($"tensor '{entry.Name}' has the shape [{string.Join(',', shape)}]");
            bytes = checked(bytes * extent);
        }
        JsonElement offsets = value.GetProperty("data_offsets");
        if (offsets.GetArrayLength() != 2)
            throw Broken($"tensor '{entry.Name}' has {offsets.GetArrayLength()} data_offsets, not 2");
        begin = offsets[0].GetInt64();
        long end = offsets[1].GetInt64();
        if (begin < 0 || end < begin || end > dataBytes)
            throw Broken($"tensor '{entry.Name}' lies at bytes {begin} to {end} of {dataBytes}: the file was cut, or the header is wrong");
        if (end - begin != bytes)
            throw Broken($"tensor '{entry.Name}' is {dtype} [{string.Join(',', shape)}], {bytes} bytes, but its range has {end - begin}");
        return new TensorView(entry.Name, type, shape, (nint)(data + begin), bytes);
    }

    void RequireCover(List<(long Begin, long End, string Name)> ranges, long dataBytes)
    {
        ranges.Sort();
        long covered = 0;
        foreach ((long begin, long end, string name) in ranges)
        {
            if (begin < covered)
                throw Broken($"tensor '{name}' begins at byte {begin}, inside the one before it, which ends at {covered}");
            if (begin > covered)
                throw Broken($"bytes {covered} to {begin} of the data, before tensor '{name}', belong to no tensor");
            covered = end;
        }
        if (covered != dataBytes)
            throw Broken($"its tensors end at byte {covered}, its data at {dataBytes}");
    }

    InvalidDataException Broken(string what, Exception? inner = null) => new($"{Path} is not a whole safetensors file: {what}.", inner);

    public void Dispose() => _file.Dispose();
}
