// Token shards as one stream of ids. A folder of shards is a dataset when its dataset.json, written last, lists them;
// the list names each shard's tokens and SHA-256, so a missing, foreign or altered shard is noticed on opening.
// Reading copies a span of ids, across shards if need be, checks each against the vocabulary, and allocates nothing.
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Data;

/// <summary>dataset.json.</summary>
sealed record DatasetManifest(
    int Version, int VocabularySize, string TokenizerHash, long TokenCount, long CorpusBytes, long Documents, IReadOnlyList<DatasetShard> Shards)
{
    /// <summary>The file's name in the dataset's folder.</summary>
    public const string FileName = "dataset.json";

    /// <summary>The version this program writes and reads.</summary>
    public const int CurrentVersion = 1;
}

/// <summary>One shard of a dataset.</summary>
sealed record DatasetShard(string File, long TokenCount, string Sha256);

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, NewLine = "\n", RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(DatasetManifest))]
sealed partial class DatasetJson : JsonSerializerContext;

/// <summary>Prepared tokens, memory-mapped.</summary>
sealed class TokenDataset : IDisposable
{
    readonly TokenShard[] _shards;
    readonly long[] _starts;

    TokenDataset(string name, TokenShard[] shards)
    {
        Name = name;
        _shards = shards;
        _starts = new long[shards.Length];
        for (int i = 0; i < shards.Length; i++)
        {
            _starts[i] = TokenCount;
            TokenCount += shards[i].Header.TokenCount;
        }
        VocabularySize = shards[0].Header.VocabularySize;
        TokenizerHash = shards[0].Header.TokenizerHash;
    }

    /// <summary>What people know it by: the file or folder it was opened or made from.</summary>
    public string Name { get; }

    /// <summary>Tokens in all shards.</summary>
    public long TokenCount { get; }

    /// <summary>Ids are below this.</summary>
    public int VocabularySize { get; }

    /// <summary>SHA-256 of the tokenizer that made the ids.</summary>
    public string TokenizerHash { get; }

    /// <summary>SHA-256 over the shards' own, in order: equal for equal ids.</summary>
    public string Hash => Convert.ToHexStringLower(SHA256.HashData(Convert.FromHexString(string.Concat(_shards.Select(shard => shard.Header.Sha256)))));

    /// <summary>Whether a path is prepared data (a shard or a folder of them) rather than text.</summary>
    public static bool IsPrepared(string path) =>
        File.Exists(Path.Combine(path, DatasetManifest.FileName)) || (File.Exists(path) && Path.GetExtension(path) == ".tokens");

    /// <summary>Opens one shard or a folder made by <see cref="DataPreparer"/>.</summary>
    /// <param name="path">The shard, or the folder.</param>
    /// <param name="verifyHashes">Reads every byte and compares.</param>
    /// <param name="name">What people know the data by; null: the path.</param>
    /// <exception cref="InvalidDataException">Something is missing, cut or altered; the message names it.</exception>
    public static TokenDataset Open(string path, bool verifyHashes = false, string? name = null)
    {
        var shards = new List<TokenShard>();
        try
        {
            if (!Directory.Exists(path))
                shards.Add(new TokenShard(path));
            else
                OpenFolder(path, shards);
            if (verifyHashes)
                shards.ForEach(shard => shard.Verify());
            return new TokenDataset(name ?? path, [.. shards]);
        }
        catch
        {
            shards.ForEach(shard => shard.Dispose());
            throw;
        }
    }

    static void OpenFolder(string folder, List<TokenShard> shards)
    {
        string file = Path.Combine(folder, DatasetManifest.FileName);
        if (!File.Exists(file))
            throw new InvalidDataException($"'{folder}' has no {DatasetManifest.FileName}: it is not prepared data, or preparing it was cut short. Run `orion-engine data prepare` again.");
        DatasetManifest manifest;
        try
        {
            manifest = JsonSerializer.Deserialize(File.ReadAllBytes(file), DatasetJson.Default.DatasetManifest) ?? throw new JsonException("it is null");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"{file} cannot be read: {error.Message}. Prepare the data again.", error);
        }
        if (manifest.Version != DatasetManifest.CurrentVersion || manifest.Shards.Count == 0)
            throw new InvalidDataException($"{file} has version {manifest.Version} and {manifest.Shards.Count} shards; this program reads version {DatasetManifest.CurrentVersion} with at least one. Prepare the data again.");
        foreach (DatasetShard listed in manifest.Shards)
        {
            string path = Path.Combine(folder, listed.File);
            var shard = new TokenShard(path);
            shards.Add(shard);
            TokenShardHeader header = shard.Header;
            if (header.TokenCount != listed.TokenCount || header.Sha256 != listed.Sha256 || header.TokenizerHash != manifest.TokenizerHash || header.VocabularySize != manifest.VocabularySize)
                throw new InvalidDataException($"{path} is not the shard that {DatasetManifest.FileName} lists: {header.TokenCount} tokens of a vocabulary of {header.VocabularySize}, expected {listed.TokenCount} of {manifest.VocabularySize} with SHA-256 {listed.Sha256}. Prepare the data again.");
        }
    }

    /// <summary>Copies the ids from <paramref name="position"/> on.</summary>
    /// <exception cref="InvalidDataException">A stored id is outside the vocabulary.</exception>
    public void Read(long position, Span<int> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        if (position > TokenCount - destination.Length)
            throw new ArgumentOutOfRangeException(nameof(position), $"{Name} has {TokenCount} tokens; {destination.Length} were asked for at {position}.");
        int index = Array.BinarySearch(_starts, position);
        index = index < 0 ? ~index - 1 : index;
        while (!destination.IsEmpty)
        {
            TokenShard shard = _shards[index];
            long within = position - _starts[index++];
            int take = (int)Math.Min(shard.Header.TokenCount - within, destination.Length);
            if (take <= 0)
                continue;
            shard.Read(within, destination[..take]);
            destination = destination[take..];
            position += take;
        }
    }

    /// <summary>Refuses a tokenizer other than the one that made the ids.</summary>
    /// <exception cref="ConfigurationException">It differs.</exception>
    public void RequireTokenizer(ITokenizer tokenizer)
    {
        if (tokenizer.Hash != TokenizerHash)
            throw new ConfigurationException($"{Name} was prepared with tokenizer {TokenizerHash[..12]} (vocabulary {VocabularySize}), not with {tokenizer.Hash[..12]} (vocabulary {tokenizer.VocabularySize}). Prepare the data with this tokenizer, or give the one that made it.");
    }

    public void Dispose()
    {
        foreach (TokenShard shard in _shards)
            shard.Dispose();
    }
}
