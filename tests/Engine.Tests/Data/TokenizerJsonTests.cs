using System.Text;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Tests.Data;

public class TokenizerJsonTests
{
    static readonly Lazy<BpeTokenizer> _trained = new(() => BpeTests.Train(BpeTests.Text, 280, special: ["<|end|>"]));

    static ITokenizer Load(byte[] json)
    {
        using var folder = new TemporaryFolder();
        return TokenizerJson.Load(folder.Write("tokenizer.json", json));
    }

    static byte[] With(Action<JsonObject> change)
    {
        JsonObject json = JsonNode.Parse(_trained.Value.ToJson())!.AsObject();
        change(json);
        return Encoding.UTF8.GetBytes(json.ToJsonString());
    }

    [Fact]
    public void ByteTokenizer_WrittenAndRead_IsTheByteTokenizer()
    {
        Assert.Same(ByteTokenizer.Instance, Load(ByteTokenizer.Instance.ToJson()));
        JsonObject vocabulary = JsonNode.Parse(ByteTokenizer.Instance.ToJson())!["model"]!["vocab"]!.AsObject();
        Assert.Equal(256, vocabulary.Count);
        // GPT-2's published names of some bytes.
        Assert.Equal(0x20, (int)vocabulary["Ġ"]!);
        Assert.Equal(0x0A, (int)vocabulary["Ċ"]!);
        Assert.Equal(0x00, (int)vocabulary["Ā"]!);
        Assert.Equal(0xAD, (int)vocabulary["Ń"]!);
        Assert.Equal((int)'a', (int)vocabulary["a"]!);
    }

    [Theory]
    [InlineData(PreTokenizerPattern.Gpt2)]
    [InlineData(PreTokenizerPattern.Llama3)]
    [InlineData(PreTokenizerPattern.None)]
    internal void Trained_WrittenAndRead_SameHashAndTokens(PreTokenizerPattern pattern)
    {
        BpeTokenizer trained = BpeTests.Train(BpeTests.Text, 270, pattern, special: ["<|a|>", "<|b|>"]);
        var read = Assert.IsType<BpeTokenizer>(Load(trained.ToJson()));
        Assert.Equal(trained.Hash, read.Hash);
        Assert.Equal(trained.Encode("that's the hat 99<|b|>", true), read.Encode("that's the hat 99<|b|>", true));
        Assert.Equal(pattern, read.Model.Pattern);
    }

    [Fact]
    public void Merges_AsPairs_ReadLikeMergesAsStrings()
    {
        byte[] json = With(root => root["model"]!["merges"] = new JsonArray([.. root["model"]!["merges"]!.AsArray().Select(merge => new JsonArray([.. merge!.GetValue<string>().Split(' ').Select(side => JsonValue.Create(side))]))]));
        Assert.Equal(_trained.Value.Hash, Load(json).Hash);
    }

    [Fact]
    public void IgnoreMerges_PieceIsAToken_IsTakenWhole()
    {
        // No merge leads to "zq", so only a whole piece can become it.
        byte[] Make(bool ignore) => With(root =>
        {
            root["model"]!["vocab"]!["zq"] = 279;
            root["added_tokens"]!.AsArray().Clear();
            root["model"]!["ignore_merges"] = ignore;
        });
        Assert.Equal([279], Load(Make(true)).Encode("zq"));
        Assert.Equal(['z', 'q'], Load(Make(false)).Encode("zq"));
        Assert.Equal(Load(Make(true)).Hash, Load(Load(Make(true)).ToJson()).Hash);
    }

    [Fact]
    public void AddedToken_InsideTheVocabulary_KeepsItsPlace()
    {
        // GPT-2's own file has <|endoftext|> in both lists; ids may also leave gaps.
        byte[] json = With(root =>
        {
            root["model"]!["vocab"]!["<|end|>"] = 400;
            root["added_tokens"]![0]!["id"] = 400;
        });
        ITokenizer read = Load(json);
        Assert.Equal(401, read.VocabularySize);
        Assert.Equal([400], read.Encode("<|end|>", recognizeSpecial: true));
        Assert.Equal("<|end|>", read.DecodeText([400]));
        Assert.Contains("Token 300", Assert.Throws<InvalidDataException>(() => read.Decode([300])).Message);
        Assert.Equal(400, (int)JsonNode.Parse(read.ToJson())!["model"]!["vocab"]!["<|end|>"]!);
        Assert.Equal(read.Hash, Load(read.ToJson()).Hash);
    }

    [Fact]
    public void PostProcessor_ReadAndWritten_Stays()
    {
        byte[] json = With(root => root["post_processor"] = JsonNode.Parse("""{ "type": "ByteLevel",  "trim_offsets": false }"""));
        Assert.Equal("ByteLevel", (string?)JsonNode.Parse(Load(json).ToJson())!["post_processor"]!["type"]);
        Assert.Equal(Load(json).Hash, Load(Load(json).ToJson()).Hash);
    }

    public static TheoryData<string, string, string> Unreadable => new()
    {
        { "normalizer", """{"type":"NFC"}""", "normalizer" },
        { "pre_tokenizer", "null", "pre_tokenizer" },
        { "pre_tokenizer", """{"type":"Whitespace"}""", "Whitespace" },
        { "pre_tokenizer", """{"type":"ByteLevel","add_prefix_space":true}""", "add_prefix_space" },
        { "pre_tokenizer", """{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"xyz"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}""", "xyz" },
        { "model/type", "\"Unigram\"", "Unigram" },
        { "model/dropout", "0.1", "dropout" },
        { "model/byte_fallback", "true", "byte_fallback" },
        { "model/end_of_word_suffix", "\"</w>\"", "end_of_word_suffix" },
        { "model/vocab/你", "900", "byte-level alphabet" },
        { "model/vocab/zz", "5", "id 5 names two tokens" },
        { "model/vocab/zz", "-5", "id -5" },
        { "model/merges/0", "\"q\"", "merge 0" },
        { "model/merges/0", "\"q q\"", "merge 0" },
        { "added_tokens/0/lstrip", "true", "lstrip" },
        { "added_tokens/0/content", "\"\"", "empty" },
        { "model", "3", "cannot" },
    };

    [Theory]
    [MemberData(nameof(Unreadable))]
    public void Load_WhatWouldChangeATokenId_IsRefusedByName(string path, string value, string expected)
    {
        byte[] json = With(root =>
        {
            JsonNode at = root;
            string[] parts = path.Split('/');
            foreach (string part in parts[..^1])
                at = int.TryParse(part, out int index) ? at[index]! : at[part]!;
            if (int.TryParse(parts[^1], out int last))
                at[last] = JsonNode.Parse(value);
            else
                at[parts[^1]] = JsonNode.Parse(value);
        });
        string message = Assert.Throws<InvalidDataException>(() => Load(json)).Message;
        Assert.Contains("tokenizer.json", message);
        if (expected != "cannot")
            Assert.Contains(expected, message);
    }

    // Ids that Hugging Face's own library gives (tests/golden/hf_tokenizer.mjs), for Llama 3's, GPT-2's and no pattern.
    [Fact]
    public void Encode_HardText_IsWhatHuggingFaceEncodes()
    {
        JsonArray golden = JsonNode.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "golden", "hf_tokenizer.json")))!.AsArray();
        Assert.Equal(3, golden.Count);
        foreach (JsonNode? entry in golden)
        {
            ITokenizer tokenizer = Load(Encoding.UTF8.GetBytes(entry!["tokenizer"]!.ToJsonString()));
            foreach (JsonNode? example in entry["cases"]!.AsArray())
            {
                string text = (string)example!["text"]!;
                Assert.Equal(example["ids"]!.AsArray().Select(id => (int)id!), tokenizer.Encode(text));
                Assert.Equal(text, tokenizer.DecodeText([.. tokenizer.Encode(text)]));
            }
        }
    }

    [Fact]
    public void Load_ByteWithoutAToken_IsRefused()
    {
        byte[] json = With(root =>
        {
            root["model"]!["vocab"]!.AsObject().Remove("Ā");
        });
        Assert.Contains("0x00", Assert.Throws<InvalidDataException>(() => Load(json)).Message);
    }
}
