using System.Text;
using FsCheck;
using FsCheck.Fluent;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Tests.Data;

public class BpeTests
{
    internal static BpeTokenizer Train(string text, int vocabulary, PreTokenizerPattern pattern = PreTokenizerPattern.Llama3, int threads = 2, params string[] special)
    {
        using var folder = new TemporaryFolder();
        var corpus = new CorpusReader([folder.Write("a.txt", Encoding.UTF8.GetBytes(text))]);
        return BpeTrainer.Train(corpus, new BpeTrainingOptions { VocabularySize = vocabulary, Pattern = pattern, Threads = threads, SpecialTokens = special });
    }

    /// <summary>Words, contractions, numbers and other scripts, with enough repetition for some hundred merges.</summary>
    internal static readonly string Text = string.Concat(Enumerable.Range(0, 500).Select(i => $"the cat's hat{i}, {i * i} {(char)('a' + (i % 26))}{(char)('a' + (i / 26))}{(char)('a' + (i % 7))} mats;\n\n  abcabc aaaa é中 that THE'RE "));

    static readonly Lazy<BpeTokenizer> _prose = new(() => Train(Text, 420));

    static List<int> Encode(ITokenizer tokenizer, byte[] text)
    {
        var tokens = new List<int>();
        tokenizer.Encode(text, tokens);
        return tokens;
    }

    // The definition of BPE, word for word: join the leftmost occurrence of the earliest merge until none is left.
    static List<int> EncodeByDefinition(TokenizerModel model, byte[] text)
    {
        var rank = model.Merges.Select((pair, i) => (pair, i)).ToDictionary(entry => entry.pair, entry => entry.i);
        int IdOf(byte[] bytes) => Array.FindIndex(model.Vocabulary, token => token is not null && token.AsSpan().SequenceEqual(bytes));
        var all = new List<int>();
        for (int at = 0, length; at < text.Length; at += length)
        {
            length = PreTokenizer.NextPiece(model.Pattern, text.AsSpan(at));
            List<int> symbols = [.. text[at..(at + length)].Select(value => IdOf([value]))];
            while (true)
            {
                int best = Enumerable.Range(0, Math.Max(0, symbols.Count - 1)).Where(i => rank.ContainsKey((symbols[i], symbols[i + 1])))
                    .OrderBy(i => rank[(symbols[i], symbols[i + 1])]).ThenBy(i => i).FirstOrDefault(-1);
                if (best < 0)
                    break;
                symbols[best] = IdOf([.. model.Vocabulary[symbols[best]]!, .. model.Vocabulary[symbols[best + 1]]!]);
                symbols.RemoveAt(best + 1);
            }
            all.AddRange(symbols);
        }
        return all;
    }

    // The definition of training: count all pairs anew after every merge.
    static List<(int, int)> TrainByDefinition(string text, int merges, PreTokenizerPattern pattern, out int tokens)
    {
        var words = new List<List<int>>();
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        for (int at = 0, length; at < bytes.Length; at += length)
        {
            length = PreTokenizer.NextPiece(pattern, bytes.AsSpan(at));
            words.Add([.. bytes[at..(at + length)].Select(value => (int)value)]);
        }
        var spelling = Enumerable.Range(0, 256).Select(value => ((char)value).ToString()).ToList();
        var made = new List<(int, int)>();
        while (spelling.Count < 256 + merges)
        {
            var counts = new Dictionary<(int, int), int>();
            foreach (List<int> word in words)
            {
                for (int i = 0; i + 1 < word.Count; i++)
                    counts[(word[i], word[i + 1])] = counts.GetValueOrDefault((word[i], word[i + 1])) + 1;
            }
            if (counts.Count == 0 || counts.Values.Max() < 2)
                break;
            (int left, int right) = counts.OrderByDescending(entry => entry.Value).ThenBy(entry => entry.Key.Item1).ThenBy(entry => entry.Key.Item2).First().Key;
            string joined = spelling[left] + spelling[right];
            int id = spelling.IndexOf(joined);
            if (id < 0)
            {
                id = spelling.Count;
                spelling.Add(joined);
            }
            if (!made.Contains((left, right)))
                made.Add((left, right));
            foreach (List<int> word in words)
            {
                for (int i = 0; i + 1 < word.Count; i++)
                {
                    if (word[i] == left && word[i + 1] == right)
                    {
                        word[i] = id;
                        word.RemoveAt(i + 1);
                    }
                }
            }
        }
        tokens = spelling.Count;
        return made;
    }

    [Fact]
    public void Encode_AnyBytes_DecodesToThem() => Prop.ForAll(Arb.From(TextGen.Bytes), text =>
        _prose.Value.Decode(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(Encode(_prose.Value, text))).AsSpan().SequenceEqual(text)
        && ByteTokenizer.Instance.Decode(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(Encode(ByteTokenizer.Instance, text))).AsSpan().SequenceEqual(text))
        .Check(Config.QuickThrowOnFailure.WithMaxTest(5_000).WithQuietOnSuccess(true));

    [Fact]
    public void Encode_AnyBytes_IsTheDefinition() => Prop.ForAll(Arb.From(TextGen.Bytes), text =>
        Encode(_prose.Value, text).SequenceEqual(EncodeByDefinition(_prose.Value.Model, text)))
        .Check(Config.QuickThrowOnFailure.WithMaxTest(1_000).WithQuietOnSuccess(true));

    // Few letters and no cuts make pieces of hundreds of symbols with many competing merges: the heap's path.
    [Fact]
    public void Encode_LongPieces_IsTheDefinition()
    {
        var random = new Random(3);
        string Letters(int count) => string.Concat(Enumerable.Range(0, count).Select(_ => "ab"[random.Next(2)]));
        BpeTokenizer tokenizer = Train(Letters(2000), 300, PreTokenizerPattern.None);
        for (int trial = 0; trial < 60; trial++)
        {
            byte[] text = Encoding.UTF8.GetBytes(Letters(random.Next(1, 300)));
            Assert.Equal(EncodeByDefinition(tokenizer.Model, text), Encode(tokenizer, text));
        }
    }

    [Theory]
    [InlineData(PreTokenizerPattern.Gpt2)]
    [InlineData(PreTokenizerPattern.Llama3)]
    [InlineData(PreTokenizerPattern.None)]
    internal void Train_RandomText_IsTheDefinition(PreTokenizerPattern pattern)
    {
        var random = new Random(11);
        for (int trial = 0; trial < 25; trial++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(50, 600)).Select(_ => "aaabbc' \n1é"[random.Next(11)]));
            List<(int, int)> expected = TrainByDefinition(text, 30, pattern, out int tokens);
            Assert.Equal(expected, Train(text, tokens, pattern).Model.Merges);
        }
    }

    [Fact]
    public void Train_OneThreadOrFour_SameHash()
    {
        using var folder = new TemporaryFolder();
        var random = new Random(1);
        for (int file = 0; file < 9; file++)
            folder.Write($"{file}.txt", Encoding.UTF8.GetBytes(string.Join(' ', Enumerable.Range(0, 5000).Select(_ => random.Next(700)))));
        string Hash(int threads) => BpeTrainer.Train(new CorpusReader([folder.Path]), new BpeTrainingOptions { VocabularySize = 512, Threads = threads }).Hash;
        Assert.Equal(Hash(1), Hash(4));
    }

    [Fact]
    public void Encode_FromManyThreads_SameTokensAsFromOne()
    {
        BpeTokenizer tokenizer = _prose.Value;
        byte[][] texts = [.. Enumerable.Range(0, 200).Select(i => Encoding.UTF8.GetBytes($"the cat's {i} hats aaaaaaa {i * 7919} that\n"))];
        List<int>[] alone = [.. texts.Select(text => Encode(tokenizer, text))];
        Parallel.For(0, 2000, i => Assert.Equal(alone[i % texts.Length], Encode(tokenizer, texts[i % texts.Length])));
    }

    [Fact]
    public async Task Encode_MegabyteWithoutACut_TakesNoQuadraticTime()
    {
        byte[] text = [.. Enumerable.Repeat((byte)'a', 1 << 20)];
        // 2^20 symbols: n log n is 2e7 steps, n^2 would be 1e12 and hours.
        List<int> tokens = await Task.Run(() => Encode(_prose.Value, text), TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.Equal(text.Length, _prose.Value.Decode([.. tokens]).Length);
    }

    [Fact]
    public void SpecialToken_InText_IsTextUnlessAsked()
    {
        BpeTokenizer tokenizer = Train(Text, 265, special: ["<|end|>", "<|end|>>"]);
        Assert.Equal(263, tokenizer.SpecialTokens["<|end|>"]);
        Assert.DoesNotContain(263, tokenizer.Encode("a<|end|>b"));
        Assert.Equal(["a", "<|end|>", "b<", "<|end|>>", "|"], Joined(tokenizer, tokenizer.Encode("a<|end|>b<<|end|>>|", recognizeSpecial: true)));
        Assert.Equal("a<|end|>b", tokenizer.DecodeText([.. tokenizer.Encode("a<|end|>b", recognizeSpecial: true)]));
    }

    // Neighbouring ordinary tokens as one string, special tokens on their own.
    static List<string> Joined(BpeTokenizer tokenizer, List<int> tokens)
    {
        var parts = new List<string>();
        bool open = false;
        foreach (int token in tokens)
        {
            bool special = tokenizer.SpecialTokens.Values.Contains(token);
            if (!special && open)
                parts[^1] += tokenizer.DecodeText([token]);
            else
                parts.Add(tokenizer.DecodeText([token]));
            open = !special;
        }
        return parts;
    }

    [Fact]
    public void Train_TooLittleText_SaysWhatItYields()
    {
        string message = Assert.Throws<ConfigurationException>(() => Train("abababab", 512)).Message;
        Assert.Contains("yields 25", message);
        Assert.Contains("256 are the bytes", Assert.Throws<ConfigurationException>(() => Train("abab", 256)).Message);
    }

    [Fact]
    public void Decode_IdOutsideTheVocabulary_NamesPositionAndId()
    {
        Assert.Contains("Token 420 at position 1", Assert.Throws<InvalidDataException>(() => _prose.Value.Decode([1, 420])).Message);
        Assert.Contains("Token -1 at position 0", Assert.Throws<InvalidDataException>(() => ByteTokenizer.Instance.Decode([-1])).Message);
    }
}
