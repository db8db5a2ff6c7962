using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Tests.Data;

public class TokenDatasetTests
{
    static string WriteShard(TemporaryFolder folder, string name, int vocabulary, int[] tokens)
    {
        using var writer = new TokenShardWriter(folder[name], vocabulary, new string('a', 64));
        writer.Write(tokens);
        writer.Complete();
        return folder[name];
    }

    [Theory]
    [InlineData(65536, 2)]
    [InlineData(65537, 4)]
    public void Shard_WrittenAndRead_SameTokens(int vocabulary, int width)
    {
        using var folder = new TemporaryFolder();
        int[] tokens = [0, 1, vocabulary - 1, 77, 0];
        string path = WriteShard(folder, "a.tokens", vocabulary, tokens);
        Assert.Equal(TokenShardHeader.Bytes + 5 * width, new FileInfo(path).Length);

        using TokenDataset dataset = TokenDataset.Open(path, verifyHashes: true);
        var read = new int[4];
        dataset.Read(1, read);
        Assert.Equal(tokens[1..], read);
        Assert.Equal(5, dataset.TokenCount);
        Assert.Equal([path], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void Write_IdOutsideVocabulary_NamesPositionAndId()
    {
        using var folder = new TemporaryFolder();
        using var writer = new TokenShardWriter(folder["a.tokens"], 300, new string('a', 64));
        writer.Write([1, 2]);
        string message = Assert.Throws<InvalidDataException>(() => writer.Write([5, 300])).Message;
        Assert.Contains("token 300 at position 3", message);
        Assert.False(File.Exists(folder["a.tokens"]));
    }

    [Fact]
    public void Read_StoredIdOutsideVocabulary_NamesShardPositionAndId()
    {
        using var folder = new TemporaryFolder();
        string path = WriteShard(folder, "a.tokens", 300, [1, 2, 3, 4]);
        byte[] bytes = File.ReadAllBytes(path);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(TokenShardHeader.Bytes + 4), 999);
        File.WriteAllBytes(path, bytes);

        using TokenDataset dataset = TokenDataset.Open(path);
        string message = Assert.Throws<InvalidDataException>(() => dataset.Read(1, new int[3])).Message;
        Assert.Contains(path, message);
        Assert.Contains("token 999 at position 2", message);
        Assert.Contains("altered", Assert.Throws<InvalidDataException>(() => TokenDataset.Open(path, verifyHashes: true)).Message);
    }

    [Fact]
    public void Open_AnyByteAltered_IsNoticed()
    {
        using var folder = new TemporaryFolder();
        string path = WriteShard(folder, "a.tokens", 300, [1, 2, 3, 4]);
        byte[] whole = File.ReadAllBytes(path);
        for (int at = 0; at < whole.Length; at++)
        {
            byte[] altered = whole.AsSpan().ToArray();
            altered[at] ^= 0x10;
            File.WriteAllBytes(path, altered);
            Assert.Contains(path, Assert.Throws<InvalidDataException>(() => TokenDataset.Open(path, verifyHashes: true)).Message);
        }
    }

    [Fact]
    public void Open_FileCutAnywhere_IsNoticed()
    {
        using var folder = new TemporaryFolder();
        string path = WriteShard(folder, "a.tokens", 300, [1, 2, 3, 4]);
        byte[] whole = File.ReadAllBytes(path);
        for (int length = 0; length < whole.Length; length++)
        {
            File.WriteAllBytes(path, whole[..length]);
            Assert.Throws<InvalidDataException>(() => TokenDataset.Open(path));
        }
    }

    [Fact]
    public void Read_AcrossShards_EqualsTheStream() => Prop.ForAll(
        Arb.From(from bytes in Gen.ArrayOf(Gen.Choose(0, 255)).Where(all => all.Length is > 0 and < 20)
                 from shardTokens in Gen.Choose(1, 5)
                 from at in Gen.Choose(0, 1 << 20)
                 select (bytes, shardTokens, at)),
        input =>
        {
            using var folder = new TemporaryFolder();
            byte[] text = [.. input.bytes.Select(value => (byte)value)];
            // One-byte documents let a shard close after every token.
            for (int i = 0; i < text.Length; i++)
                folder.Write($"text/{i:D4}.txt", [text[i]]);
            DataPreparer.Prepare(new CorpusReader([folder["text"]]), ByteTokenizer.Instance, folder["out"], new PrepareOptions { ShardTokensMax = input.shardTokens, Threads = 2 });
            using TokenDataset dataset = TokenDataset.Open(folder["out"], verifyHashes: true);
            int start = input.at % text.Length;
            var read = new int[text.Length - start];
            dataset.Read(start, read);
            return dataset.TokenCount == text.Length && read.SequenceEqual(text[start..].Select(value => (int)value));
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Open_ShardMissingOrForeign_IsNamed()
    {
        using var folder = new TemporaryFolder();
        folder.Write("a.txt", "some text"u8);
        DataPreparer.Prepare(new CorpusReader([folder["a.txt"]]), ByteTokenizer.Instance, folder["out"], cancellation: TestContext.Current.CancellationToken);
        string shard = Path.Combine(folder["out"], "shard-00000.tokens");
        WriteShard(folder, "other.tokens", 256, [1, 2, 3]);

        File.Copy(folder["other.tokens"], shard, overwrite: true);
        Assert.Contains("is not the shard that dataset.json lists", Assert.Throws<InvalidDataException>(() => TokenDataset.Open(folder["out"])).Message);
        File.Delete(shard);
        Assert.Contains(shard, Assert.Throws<InvalidDataException>(() => TokenDataset.Open(folder["out"])).Message);
    }

    [Theory]
    [InlineData(4, 10, 2)]
    [InlineData(4, 9, 2)]
    [InlineData(4, 8, 1)]
    [InlineData(1, 2, 1)]
    public void Windows_AnyTail_AreWholeAndPredictTheNextToken(int sequence, int tokens, int expected)
    {
        using var folder = new TemporaryFolder();
        int[] stream = [.. Enumerable.Range(10, tokens)];
        using TokenDataset dataset = TokenDataset.Open(WriteShard(folder, "a.tokens", 300, stream));
        var windows = new TokenWindows(dataset, sequence);
        Assert.Equal(expected, windows.Count);
        int[] inputs = new int[sequence], targets = new int[sequence];
        for (int window = 0; window < expected; window++)
        {
            windows.Read(window, inputs, targets);
            Assert.Equal(stream[(window * sequence)..((window + 1) * sequence)], inputs);
            Assert.Equal(stream[(window * sequence + 1)..((window + 1) * sequence + 1)], targets);
        }
    }

    [Fact]
    public void Windows_TooFewTokens_SaysHowManyAreNeeded()
    {
        using var folder = new TemporaryFolder();
        using TokenDataset dataset = TokenDataset.Open(WriteShard(folder, "a.tokens", 300, [1, 2, 3, 4]));
        Assert.Contains("5 tokens", Assert.Throws<ConfigurationException>(() => new TokenWindows(dataset, 4)).Message);
    }

    [Fact]
    public void Windows_Read_AllocatesNothing()
    {
        using var folder = new TemporaryFolder();
        using TokenDataset dataset = TokenDataset.Open(WriteShard(folder, "a.tokens", 300, [.. Enumerable.Range(0, 300)]));
        var windows = new TokenWindows(dataset, 16);
        int[] inputs = new int[16], targets = new int[16];
        windows.Read(0, inputs, targets);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
            windows.Read(i % windows.Count, inputs, targets);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }
}
