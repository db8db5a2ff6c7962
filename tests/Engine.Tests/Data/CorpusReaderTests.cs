using System.Text;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Tests.Data;

public class CorpusReaderTests
{
    static string[] Documents(CorpusReader corpus)
    {
        var documents = new List<string>();
        var open = new StringBuilder();
        foreach (CorpusSegment segment in corpus.Read())
        {
            open.Append(Encoding.Latin1.GetString(segment.Text));
            if (!segment.EndsDocument)
                continue;
            documents.Add(open.ToString());
            open.Clear();
        }
        Assert.Equal(0, open.Length);
        return [.. documents];
    }

    [Fact]
    public void FolderGlobAndFile_AreReadInOrdinalOrder()
    {
        using var folder = new TemporaryFolder();
        foreach (string name in (string[])["b.txt", "a/z.txt", "a/deep/x.md", "a/code.cs", "B.txt"])
            folder.Write(name, Encoding.UTF8.GetBytes(name));
        Assert.Equal(["B.txt", "a/deep/x.md", "a/z.txt", "b.txt"], Documents(new CorpusReader([folder.Path])));
        Assert.Equal(["a/code.cs"], Documents(new CorpusReader([folder["**/*.cs"]])));
        Assert.Equal(["B.txt", "b.txt"], Documents(new CorpusReader([folder["?.txt"]])));
        Assert.Equal(["b.txt", "B.txt"], Documents(new CorpusReader([folder["b.txt"], folder["*.txt"]])));
        Assert.Equal(["a/deep/x.md"], Documents(new CorpusReader([folder["a/**/x*"]])));
    }

    [Fact]
    public void LongText_IsCutIntoSegments_AndIsWhole()
    {
        using var folder = new TemporaryFolder();
        var random = new Random(2);
        byte[] text = new byte[5_000_000];
        for (int i = 0; i < text.Length; i++)
            text[i] = (byte)"abc .\n"[random.Next(6)];
        var corpus = new CorpusReader([folder.Write("a.txt", text)]);
        CorpusSegment[] segments = [.. corpus.Read()];
        Assert.Equal(text, segments.SelectMany(segment => segment.Text).ToArray());
        Assert.InRange(segments.Length, 5, 6);
        Assert.All(segments[..^1], segment => Assert.False(segment.EndsDocument));
        Assert.True(segments[^1].EndsDocument);
        Assert.All(segments[..^1], segment => Assert.Equal((byte)'\n', segment.Text[^1]));
    }

    [Fact]
    public void LongText_WithoutAPlaceToCut_IsOneSegment()
    {
        using var folder = new TemporaryFolder();
        byte[] text = [.. Enumerable.Repeat((byte)'a', 3_000_001)];
        Assert.Equal(text, Assert.Single(new CorpusReader([folder.Write("a.txt", text)]).Read()).Text);
    }

    [Fact]
    public void JsonLines_NamedField_OneDocumentALine()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.jsonl", Encoding.UTF8.GetBytes("""
            {"id": 1, "body": "one\ntwo", "meta": {"body": "no"}}

            {"body": "\u00e9", "tags": ["x"]}
            {"body": ""}
            """));
        Assert.Equal(["one\ntwo", "Ã©", ""], Documents(new CorpusReader([path], "body")));
    }

    [Theory]
    [InlineData("""{"text": "fine"}""" + "\n" + """{"body": "x", "id": 3}""", "line 2: no field 'text'; found 'body', 'id'")]
    [InlineData("""{"text": 7}""", "line 1: field 'text' is Number")]
    [InlineData("""["text"]""", "line 1: expected a JSON object")]
    [InlineData("\n\n{\"text\": \"a\"", "line 3: ")]
    [InlineData("""{"text": "a"} trailing""", "line 1: ")]
    [InlineData("""{"text": "\ud800"}""", "line 1: ")]
    public void JsonLines_BadLine_IsNamed(string content, string expected)
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.jsonl", Encoding.UTF8.GetBytes(content));
        Exception error = Assert.ThrowsAny<Exception>(() => new CorpusReader([path]).Read().Count());
        Assert.True(error is InvalidDataException or ConfigurationException, error.ToString());
        Assert.Contains($"{path} {expected}", error.Message);
    }

    [Fact]
    public void Resolve_NothingThere_SaysWhatWasLookedFor()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["empty"]);
        folder.Write("zero.txt", []);
        string Message(string pattern) => Assert.Throws<ConfigurationException>(() => new CorpusReader([pattern])).Message;
        Assert.Contains("no.txt", Message(folder["no.txt"]));
        Assert.Contains("Nothing matches", Message(folder["*.json"]));
        Assert.Contains("has no .txt, .md or .jsonl", Message(folder["empty"]));
        Assert.Contains("0 bytes", Message(folder["zero.txt"]));
    }

    [Fact]
    public void Prepare_AnyThreads_SameShardsAsOneByOne()
    {
        using var folder = new TemporaryFolder();
        BpeTokenizer tokenizer = BpeTests.Train(BpeTests.Text, 300);
        var text = new StringBuilder();
        while (text.Length < 3_000_000)
            text.Append(BpeTests.Text);
        string path = folder.Write("a.txt", Encoding.UTF8.GetBytes(text.ToString()));
        var expected = new List<int>();
        tokenizer.Encode(File.ReadAllBytes(path), expected);
        foreach (int threads in (int[])[1, 3])
        {
            DataPreparer.Prepare(new CorpusReader([path]), tokenizer, folder["out"], new PrepareOptions { Threads = threads, ShardTokensMax = 300_000 }, cancellation: TestContext.Current.CancellationToken);
            using TokenDataset dataset = TokenDataset.Open(folder["out"], verifyHashes: true);
            var read = new int[dataset.TokenCount];
            dataset.Read(0, read);
            Assert.Equal(expected, read);
            Assert.Equal(tokenizer.Hash, TokenizerJson.Load(folder["out/tokenizer.json"]).Hash);
        }
    }

    [Fact]
    public void Prepare_DocumentEnd_FollowsEveryDocument()
    {
        using var folder = new TemporaryFolder();
        BpeTokenizer tokenizer = BpeTests.Train(BpeTests.Text, 270, special: ["<|end|>"]);
        folder.Write("in/a.txt", "one"u8);
        folder.Write("in/b.jsonl", "{\"text\":\"two\"}\n{\"text\":\"\"}\n"u8);
        DatasetManifest manifest = DataPreparer.Prepare(new CorpusReader([folder["in"]]), tokenizer, folder["out"], new PrepareOptions { DocumentEnd = 269 }, cancellation: TestContext.Current.CancellationToken);
        using TokenDataset dataset = TokenDataset.Open(folder["out"]);
        var read = new int[dataset.TokenCount];
        dataset.Read(0, read);
        Assert.Equal("one<|end|>two<|end|><|end|>", tokenizer.DecodeText(read));
        Assert.Equal(3, manifest.Documents);
    }

    [Fact]
    public void Open_SameTextAgain_UsesTheCacheAndAnotherTextDoesNot()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.txt", "some text to train on"u8);
        int prepared = 0;
        long Tokens()
        {
            using TokenDataset dataset = DataPreparer.Open([path], ByteTokenizer.Instance, folder["cache"], progress: _ => prepared++);
            return dataset.TokenCount;
        }
        Assert.Equal(21, Tokens());
        Assert.Equal(1, prepared);
        Assert.Equal(21, Tokens());
        Assert.Equal(1, prepared);
        File.AppendAllText(path, "!");
        Assert.Equal(22, Tokens());
        Assert.Equal(2, prepared);
        Assert.Equal(2, Directory.GetDirectories(folder["cache"]).Length);
    }

    [Fact]
    public void Open_PreparedWithAnotherTokenizer_IsRefused()
    {
        using var folder = new TemporaryFolder();
        string path = folder.Write("a.txt", "some text"u8);
        DataPreparer.Prepare(new CorpusReader([path]), ByteTokenizer.Instance, folder["out"], cancellation: TestContext.Current.CancellationToken);
        BpeTokenizer other = BpeTests.Train(BpeTests.Text, 270);
        Assert.Contains("was prepared with tokenizer", Assert.Throws<ConfigurationException>(() => DataPreparer.Open([folder["out"]], other, folder["cache"], cancellation: TestContext.Current.CancellationToken)).Message);
        using TokenDataset dataset = DataPreparer.Open([folder["out"]], ByteTokenizer.Instance, folder["cache"], cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(9, dataset.TokenCount);
    }
}
