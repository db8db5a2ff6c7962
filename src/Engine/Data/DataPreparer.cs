// Text to token shards. Segments are read in order, encoded on several threads a batch at a time, and written in order,
// so the shards do not depend on the number of threads. dataset.json and tokenizer.json are written last: a folder
// without dataset.json is not a dataset. The cache is the same work under a name made of the hashes of text and tokenizer.
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using OrionNative.Engine.Run;
using OrionNative.Engine.Storage;

namespace OrionNative.Engine.Data;

/// <summary>How far preparing has come.</summary>
readonly record struct PrepareProgress(long BytesDone, long BytesTotal, long Tokens);

/// <summary>How data is prepared.</summary>
sealed record PrepareOptions
{
    /// <summary>Threads that encode.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>A shard is closed once it has this many tokens.</summary>
    public long ShardTokensMax { get; init; } = 1L << 28;

    /// <summary>A token put after every document, or null.</summary>
    public int? DocumentEnd { get; init; }
}

static class DataPreparer
{
    const int SegmentsPerThread = 4;

    // two preparations of one text, in this process or in another, must not write one folder
    static int _preparations;

    /// <summary>Encodes a corpus into <paramref name="folder"/>, which is made if missing.</summary>
    /// <exception cref="InvalidDataException">The corpus cannot be read, or has no tokens.</exception>
    public static DatasetManifest Prepare(CorpusReader corpus, ITokenizer tokenizer, string folder, PrepareOptions? options = null, Action<PrepareProgress>? progress = null, CancellationToken cancellation = default)
    {
        options ??= new PrepareOptions();
        if (options.DocumentEnd is { } end && (uint)end >= (uint)tokenizer.VocabularySize)
            throw new ArgumentException($"The token after a document, {end}, is outside the vocabulary of {tokenizer.VocabularySize}.");
        Directory.CreateDirectory(folder);
        File.Delete(Path.Combine(folder, DatasetManifest.FileName));

        var shards = new List<DatasetShard>();
        TokenShardWriter? writer = null;
        long bytes = 0, tokens = 0, documents = 0;
        try
        {
            foreach (CorpusSegment[] batch in corpus.Read().Chunk(options.Threads * SegmentsPerThread))
            {
                cancellation.ThrowIfCancellationRequested();
                foreach (List<int> encoded in Encode(batch, tokenizer, options))
                {
                    writer ??= new TokenShardWriter(Path.Combine(folder, ShardName(shards.Count)), tokenizer.VocabularySize, tokenizer.Hash);
                    writer.Write(CollectionsMarshal.AsSpan(encoded));
                    tokens += encoded.Count;
                    if (writer.TokenCount >= options.ShardTokensMax)
                        Close(ref writer, shards);
                }
                bytes += batch.Sum(segment => (long)segment.Text.Length);
                documents += batch.Count(segment => segment.EndsDocument);
                progress?.Invoke(new PrepareProgress(bytes, corpus.Bytes, tokens));
            }
            if (tokens == 0)
                throw new ConfigurationException($"The data has no text: {string.Join(", ", corpus.Files.Take(3))}.");
            Close(ref writer, shards);
        }
        finally
        {
            writer?.Dispose();
        }
        var manifest = new DatasetManifest(DatasetManifest.CurrentVersion, tokenizer.VocabularySize, tokenizer.Hash, tokens, bytes, documents, shards);
        DurableFiles.Replace(Path.Combine(folder, "tokenizer.json"), tokenizer.ToJson());
        DurableFiles.Replace(Path.Combine(folder, DatasetManifest.FileName), JsonSerializer.SerializeToUtf8Bytes(manifest, DatasetJson.Default.DatasetManifest));
        return manifest;
    }

    static string ShardName(int index) => $"shard-{index:D5}.tokens";

    static List<int>[] Encode(CorpusSegment[] batch, ITokenizer tokenizer, PrepareOptions options)
    {
        var encoded = new List<int>[batch.Length];
        Parallel.For(0, batch.Length, new ParallelOptions { MaxDegreeOfParallelism = options.Threads }, i =>
        {
            encoded[i] = new List<int>(batch[i].Text.Length / 2);
            tokenizer.Encode(batch[i].Text, encoded[i]);
            if (options.DocumentEnd is { } end && batch[i].EndsDocument)
                encoded[i].Add(end);
        });
        return encoded;
    }

    static void Close(ref TokenShardWriter? writer, List<DatasetShard> shards)
    {
        if (writer is null)
            return;
        TokenShardHeader header = writer.Complete();
        shards.Add(new DatasetShard(ShardName(shards.Count), header.TokenCount, header.Sha256));
        writer.Dispose();
        writer = null;
    }

    /// <summary>The dataset of a text, prepared on first use and kept in <paramref name="cacheFolder"/> under a name made of
    /// the hashes of its content and of the tokenizer. Prepared data is opened as it is.</summary>
    public static TokenDataset Open(IReadOnlyList<string> data, ITokenizer tokenizer, string cacheFolder, string field = "text", PrepareOptions? options = null, Action<PrepareProgress>? progress = null, CancellationToken cancellation = default)
    {
        if (data.Count == 1 && TokenDataset.IsPrepared(data[0]))
        {
            TokenDataset prepared = TokenDataset.Open(data[0]);
            try
            {
                prepared.RequireTokenizer(tokenizer);
                return prepared;
            }
            catch
            {
                prepared.Dispose();
                throw;
            }
        }
        var corpus = new CorpusReader(data, field);
        string folder = Path.Combine(cacheFolder, CacheKey(corpus, tokenizer, options));
        if (!File.Exists(Path.Combine(folder, DatasetManifest.FileName)))
        {
            string partial = $"{folder}.partial-{Environment.ProcessId}-{Interlocked.Increment(ref _preparations)}";
            Prepare(corpus, tokenizer, partial, options, progress, cancellation);
            PutInPlace(partial, folder);
        }
        return TokenDataset.Open(folder, name: corpus.Files.Count == 1 ? corpus.Files[0] : $"{corpus.Files[0]} with {corpus.Files.Count - 1} more");
    }

    static string CacheKey(CorpusReader corpus, ITokenizer tokenizer, PrepareOptions? options)
    {
        using IncrementalHash key = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        key.AppendData(Encoding.UTF8.GetBytes($"{DatasetManifest.CurrentVersion} {tokenizer.Hash} {options?.DocumentEnd} {corpus.Field}"));
        Span<byte> number = stackalloc byte[8];
        foreach (string file in corpus.Files)
        {
            key.AppendData(Encoding.UTF8.GetBytes(Path.GetExtension(file)));
            try
            {
                using FileStream stream = File.OpenRead(file);
                BinaryPrimitives.WriteInt64LittleEndian(number, stream.Length);
                key.AppendData(number);
                key.AppendData(SHA256.HashData(stream));
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                throw new InvalidDataException($"Cannot read '{file}': {error.Message}", error);
            }
        }
        return Convert.ToHexStringLower(key.GetHashAndReset())[..32];
    }

    // Another process may have prepared the same text meanwhile; its folder is as good as ours.
    static void PutInPlace(string partial, string folder)
    {
        try
        {
            Directory.Move(partial, folder);
        }
        catch (IOException) when (File.Exists(Path.Combine(folder, DatasetManifest.FileName)))
        {
            Directory.Delete(partial, recursive: true);
        }
    }
}
