// A token shard is one file: 128 bytes of header, then the token ids as little-endian u16 (vocabulary up to 65536) or u32.
//   0 "ORIONTOK"   8 version u32   12 bytes per token u32   16 vocabulary u32   20 zero u32   24 tokens u64
//   32 tokenizer hash, 32 bytes    64 SHA-256, 32 bytes                         96 zero to 128
// The SHA-256 is over the ids and then the header with zeros in its own place, so it covers every byte of the file.
// It is written beside its place and renamed when whole, so a file with a shard's name is a whole shard.
using System.Buffers.Binary;
using System.Security.Cryptography;
using OrionNative.Engine.Storage;

namespace OrionNative.Engine.Data;

/// <summary>The first 128 bytes of a shard.</summary>
sealed record TokenShardHeader(int VocabularySize, long TokenCount, string TokenizerHash, string Sha256)
{
    /// <summary>Size of the header.</summary>
    public const int Bytes = 128;

    const uint Version = 1;

    static ReadOnlySpan<byte> Magic => "ORIONTOK"u8;

    /// <summary>2 or 4.</summary>
    public int TokenBytes => TokenBytesFor(VocabularySize);

    /// <summary>Size of the whole file.</summary>
    public long FileBytes => Bytes + TokenCount * TokenBytes;

    /// <summary>The width that a vocabulary needs.</summary>
    public static int TokenBytesFor(int vocabularySize) => vocabularySize <= 1 << 16 ? 2 : 4;

    public void WriteTo(Span<byte> destination)
    {
        destination[..Bytes].Clear();
        Magic.CopyTo(destination);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(destination[12..], TokenBytes);
        BinaryPrimitives.WriteInt32LittleEndian(destination[16..], VocabularySize);
        BinaryPrimitives.WriteInt64LittleEndian(destination[24..], TokenCount);
        Convert.FromHexString(TokenizerHash).CopyTo(destination[32..]);
        Convert.FromHexString(Sha256).CopyTo(destination[64..]);
    }

    /// <summary>Ends the hash of a file whose ids it has seen: the header follows, with zeros for the hash itself.</summary>
    public string Seal(IncrementalHash idsSeen)
    {
        Span<byte> bytes = stackalloc byte[Bytes];
        (this with { Sha256 = new string('0', 64) }).WriteTo(bytes);
        idsSeen.AppendData(bytes);
        return Convert.ToHexStringLower(idsSeen.GetHashAndReset());
    }

    /// <summary>Reads and checks a header against the size of its file.</summary>
    /// <exception cref="InvalidDataException">It is not a shard, or not whole.</exception>
    public static TokenShardHeader Read(ReadOnlySpan<byte> source, string file, long fileBytes)
    {
        if (source.Length < Bytes || !source[..8].SequenceEqual(Magic))
            throw new InvalidDataException($"{file} is not a token shard: it does not begin with a header that says ORIONTOK. Make shards with `orion-engine data prepare`.");
        if (source[20..24].ContainsAnyExcept((byte)0) || source[96..Bytes].ContainsAnyExcept((byte)0))
            throw new InvalidDataException($"{file} has bytes in its header that must be zero: it was altered. Prepare the data again.");
        uint version = BinaryPrimitives.ReadUInt32LittleEndian(source[8..]);
        if (version != Version)
            throw new InvalidDataException($"{file} is a token shard of version {version}; this program reads version {Version}. Prepare the data again.");
        int tokenBytes = BinaryPrimitives.ReadInt32LittleEndian(source[12..]);
        int vocabulary = BinaryPrimitives.ReadInt32LittleEndian(source[16..]);
        long tokens = BinaryPrimitives.ReadInt64LittleEndian(source[24..]);
        if (vocabulary <= 0 || tokens < 0 || tokens > long.MaxValue / 8 || tokenBytes != TokenBytesFor(vocabulary))
            throw new InvalidDataException($"{file} has an impossible header: vocabulary {vocabulary}, {tokenBytes} bytes a token, {tokens} tokens. Prepare the data again.");
        var header = new TokenShardHeader(vocabulary, tokens, Convert.ToHexStringLower(source.Slice(32, 32)), Convert.ToHexStringLower(source.Slice(64, 32)));
        if (fileBytes != header.FileBytes)
            throw new InvalidDataException($"{file} has {fileBytes} bytes, its header promises {header.FileBytes} ({tokens} tokens of {tokenBytes} bytes): the file was cut or altered. Prepare the data again.");
        return header;
    }
}

/// <summary>Writes one shard; nothing appears under its name before <see cref="Complete"/>.</summary>
sealed class TokenShardWriter : IDisposable
{
    readonly string _path;
    readonly string _partial;
    readonly int _vocabularySize;
    readonly string _tokenizerHash;
    readonly FileStream _stream;
    readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    byte[] _block = [];

    public TokenShardWriter(string path, int vocabularySize, string tokenizerHash)
    {
        _path = path;
        _partial = path + ".partial";
        _vocabularySize = vocabularySize;
        _tokenizerHash = tokenizerHash;
        _stream = new FileStream(_partial, FileMode.Create, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
        _stream.Write(new byte[TokenShardHeader.Bytes]);
    }

    /// <summary>Tokens written so far.</summary>
    public long TokenCount { get; private set; }

    /// <exception cref="InvalidDataException">An id is outside the vocabulary.</exception>
    public void Write(ReadOnlySpan<int> tokens)
    {
        int width = TokenShardHeader.TokenBytesFor(_vocabularySize);
        if (_block.Length < tokens.Length * width)
            _block = new byte[tokens.Length * width];
        Span<byte> bytes = _block.AsSpan(0, tokens.Length * width);
        for (int i = 0; i < tokens.Length; i++)
        {
            if ((uint)tokens[i] >= (uint)_vocabularySize)
                throw new InvalidDataException($"{_path}: token {tokens[i]} at position {TokenCount + i} is outside the vocabulary of {_vocabularySize}.");
            if (width == 2)
                BinaryPrimitives.WriteUInt16LittleEndian(bytes[(2 * i)..], (ushort)tokens[i]);
            else
                BinaryPrimitives.WriteInt32LittleEndian(bytes[(4 * i)..], tokens[i]);
        }
        _stream.Write(bytes);
        _hash.AppendData(bytes);
        TokenCount += tokens.Length;
    }

    /// <summary>Puts the shard in its place.</summary>
    public TokenShardHeader Complete()
    {
        var header = new TokenShardHeader(_vocabularySize, TokenCount, _tokenizerHash, Sha256: "");
        header = header with { Sha256 = header.Seal(_hash) };
        Span<byte> bytes = stackalloc byte[TokenShardHeader.Bytes];
        header.WriteTo(bytes);
        _stream.Position = 0;
        _stream.Write(bytes);
        _stream.Flush(flushToDisk: true);
        _stream.Dispose();
        File.Move(_partial, _path, overwrite: true);
        DurableFiles.FlushDirectory(Path.GetDirectoryName(Path.GetFullPath(_path))!);
        return header;
    }

    /// <summary>Removes what was not completed.</summary>
    public void Dispose()
    {
        _stream.Dispose();
        _hash.Dispose();
        File.Delete(_partial);
    }
}

/// <summary>A shard mapped into memory.</summary>
sealed unsafe class TokenShard : IDisposable
{
    readonly MappedFile _file;

    /// <exception cref="InvalidDataException">The file is not a whole shard.</exception>
    public TokenShard(string path)
    {
        Path = path;
        _file = new MappedFile(path);
        try
        {
            Header = TokenShardHeader.Read(new ReadOnlySpan<byte>(_file.Address, (int)Math.Min(_file.Bytes, TokenShardHeader.Bytes)), path, _file.Bytes);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    public string Path { get; }

    public TokenShardHeader Header { get; }

    /// <summary>Copies tokens from <paramref name="position"/> on; the caller keeps within <see cref="TokenShardHeader.TokenCount"/>.</summary>
    /// <exception cref="InvalidDataException">An id is outside the vocabulary.</exception>
    public void Read(long position, Span<int> destination)
    {
        int vocabulary = Header.VocabularySize;
        byte* source = _file.Address + TokenShardHeader.Bytes + position * Header.TokenBytes;
        if (Header.TokenBytes == 2)
        {
            var ids = new ReadOnlySpan<ushort>(source, destination.Length);
            for (int i = 0; i < ids.Length; i++)
                destination[i] = ids[i];
        }
        else
        {
            new ReadOnlySpan<int>(source, destination.Length).CopyTo(destination);
        }
        for (int i = 0; i < destination.Length; i++)
        {
            if ((uint)destination[i] >= (uint)vocabulary)
                throw new InvalidDataException($"{Path}: token {(uint)destination[i]} at position {position + i} is outside the vocabulary of {vocabulary}: the file was altered. Prepare the data again.");
        }
    }

    /// <summary>Compares the SHA-256 of the whole file with the header's.</summary>
    /// <exception cref="InvalidDataException">They differ.</exception>
    public void Verify()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        const int blockBytes = 1 << 26;
        for (long offset = TokenShardHeader.Bytes; offset < _file.Bytes; offset += blockBytes)
            hash.AppendData(new ReadOnlySpan<byte>(_file.Address + offset, (int)Math.Min(blockBytes, _file.Bytes - offset)));
        string found = Header.Seal(hash);
        if (found != Header.Sha256)
            throw new InvalidDataException($"{Path}: its SHA-256 is {found}, its header says {Header.Sha256}: the file was altered. Prepare the data again.");
    }

    public void Dispose() => _file.Dispose();
}
