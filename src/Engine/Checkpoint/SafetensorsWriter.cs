// Writes safetensors: u64 header length, JSON header { name: { dtype, shape, data_offsets } }, then the tensors without gaps.
// The header is padded with spaces to a multiple of 8 and wider types come first, so every tensor is aligned to its element
// (the format's own convention, https://github.com/huggingface/safetensors). Tensors pass through one buffer; the SHA-256 of
// the file comes out of the same pass.
using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text.Json;

namespace OrionNative.Engine.Checkpoint;

static class SafetensorsWriter
{
    const int BlockBytes = 1 << 20;

    /// <summary>Writes tensors to a stream and returns the SHA-256 of what was written, lower-case hexadecimal.</summary>
    /// <exception cref="ArgumentException">Two tensors have one name.</exception>
    public static string Write(Stream stream, IReadOnlyList<TensorSource> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        TensorSource[] ordered = Order(tensors);
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] header = MakeHeader(ordered, metadata);
        stream.Write(header);
        hash.AppendData(header);

        var block = new byte[BlockBytes];
        foreach (TensorSource tensor in ordered)
        {
            for (long offset = 0; offset < tensor.Bytes; offset += BlockBytes)
            {
                Span<byte> part = block.AsSpan(0, (int)Math.Min(BlockBytes, tensor.Bytes - offset));
                tensor.Fill(offset, part);
                stream.Write(part);
                hash.AppendData(part);
            }
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>The size that <see cref="Write"/> will produce.</summary>
    public static long FileBytes(IReadOnlyList<TensorSource> tensors, IReadOnlyDictionary<string, string>? metadata = null) =>
        MakeHeader(Order(tensors), metadata).Length + tensors.Sum(tensor => tensor.Bytes);

    static TensorSource[] Order(IReadOnlyList<TensorSource> tensors) =>
        [.. tensors.OrderByDescending(tensor => tensor.Type.Bytes()).ThenBy(tensor => tensor.Name, StringComparer.Ordinal)];

    static byte[] MakeHeader(TensorSource[] ordered, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        buffer.Write(stackalloc byte[8]);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata.OrderBy(entry => entry.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            var names = new HashSet<string>();
            long offset = 0;
            foreach (TensorSource tensor in ordered)
            {
                if (!names.Add(tensor.Name) || tensor.Name == "__metadata__")
                    throw new ArgumentException($"The name '{tensor.Name}' cannot be given to a tensor here: it is taken.");
                WriteEntry(json, tensor, offset);
                offset += tensor.Bytes;
            }
            json.WriteEndObject();
        }
        while (buffer.Length % 8 != 0)
            buffer.WriteByte((byte)' ');
        byte[] header = buffer.ToArray();
        BinaryPrimitives.WriteInt64LittleEndian(header, header.Length - 8);
        return header;
    }

    static void WriteEntry(Utf8JsonWriter json, TensorSource tensor, long offset)
    {
        json.WriteStartObject(tensor.Name);
        json.WriteString("dtype", tensor.Type.ToString());
        json.WriteStartArray("shape");
        foreach (long extent in tensor.Shape)
            json.WriteNumberValue(extent);
        json.WriteEndArray();
        json.WriteStartArray("data_offsets");
        json.WriteNumberValue(offset);
        json.WriteNumberValue(offset + tensor.Bytes);
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
