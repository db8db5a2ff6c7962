// Hugging Face tokenizer.json for byte-level BPE, read and written. What is understood: BPE without dropout, prefixes and
// byte fallback; GPT-2's or Llama 3's pattern or none; added tokens that match exactly. Anything else that would change
// a token id is refused by name, never skipped. Written in one canonical way, so that its SHA-256 is an identity.
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Data;

static class TokenizerJson
{
    /// <summary>GPT-2's published pattern.</summary>
    public const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Llama 3's published pattern.</summary>
    public const string Llama3Pattern = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    static readonly JsonWriterOptions _canonical = new()
    {
        Indented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>The tokenizer in a file; a file of the byte tokenizer gives <see cref="ByteTokenizer"/>.</summary>
    /// <exception cref="InvalidDataException">The file is not a tokenizer that can be run here; the message says why.</exception>
    public static ITokenizer Load(string path)
    {
        if (!File.Exists(path))
            throw new ConfigurationException($"There is no tokenizer '{path}'; give 'byte' or the path of a tokenizer.json, which `orion-engine tokenizer train` makes.");
        byte[] bytes = File.ReadAllBytes(path);
        TokenizerModel model;
        try
        {
            model = Read(bytes);
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or KeyNotFoundException or FormatException or InvalidDataException)
        {
            throw new InvalidDataException($"{path} is not a tokenizer.json that can be used: {error.Message}", error);
        }
        return HashOf(Write(model)) == ByteTokenizer.Instance.Hash ? ByteTokenizer.Instance : new BpeTokenizer(model);
    }

    /// <summary>SHA-256, lower-case hexadecimal.</summary>
    public static string HashOf(ReadOnlySpan<byte> json) => Convert.ToHexStringLower(SHA256.HashData(json));

    /// <summary>Parses a tokenizer.json.</summary>
    public static TokenizerModel Read(ReadOnlyMemory<byte> json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        JsonElement root = document.RootElement;
        if (Present(root, "normalizer"))
            throw new InvalidDataException("it has a normalizer, which would change the bytes; only tokenizers without one are read.");
        JsonElement model = root.GetProperty("model");
        RequireModel(model);

        SpecialToken[] special = Present(root, "added_tokens") ? ReadSpecial(root.GetProperty("added_tokens"), model.GetProperty("vocab")) : [];
        Dictionary<string, int> ids = ReadVocabulary(model.GetProperty("vocab"), special, out byte[]?[] vocabulary);
        return new TokenizerModel
        {
            Vocabulary = vocabulary,
            Merges = ReadMerges(model.GetProperty("merges"), ids),
            Special = special,
            Pattern = ReadPattern(root),
            IgnoreMerges = model.TryGetProperty("ignore_merges", out JsonElement ignore) && ignore.GetBoolean(),
            PostProcessor = Present(root, "post_processor") ? root.GetProperty("post_processor").GetRawText() : null,
        };
    }

    static bool Present(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    static void RequireModel(JsonElement model)
    {
        if (Present(model, "type") && model.GetProperty("type").GetString() is var type && type != "BPE")
            throw new InvalidDataException($"its model is '{type}'; only BPE is read.");
        foreach (string name in (ReadOnlySpan<string>)["dropout", "continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (Present(model, name) && model.GetProperty(name) is var value && !(value.ValueKind == JsonValueKind.String && value.GetString() == ""))
                throw new InvalidDataException($"its BPE model sets {name} to {value.GetRawText()}; byte-level BPE has none.");
        }
        if (model.TryGetProperty("byte_fallback", out JsonElement fallback) && fallback.ValueKind == JsonValueKind.True)
            throw new InvalidDataException("its BPE model sets byte_fallback; byte-level BPE needs none.");
    }

    static SpecialToken[] ReadSpecial(JsonElement added, JsonElement vocabulary)
    {
        var special = new List<SpecialToken>();
        foreach (JsonElement token in added.EnumerateArray())
        {
            string content = token.GetProperty("content").GetString()!;
            foreach (string flag in (ReadOnlySpan<string>)["single_word", "lstrip", "rstrip"])
            {
                if (token.TryGetProperty(flag, out JsonElement set) && set.GetBoolean())
                    throw new InvalidDataException($"added token '{content}' sets {flag}, which drops or guesses text; only exact added tokens are read.");
            }
            int id = token.GetProperty("id").GetInt32();
            if (content.Length == 0 || id is < 0 or >= TokenizerModel.VocabularySizeMax)
                throw new InvalidDataException($"added token '{content}' with id {id}: the content must not be empty and ids run from 0 to {TokenizerModel.VocabularySizeMax - 1}.");
            bool isSpecial = token.TryGetProperty("special", out JsonElement mark) && mark.GetBoolean();
            special.Add(new SpecialToken(content, id, isSpecial, vocabulary.TryGetProperty(content, out _)));
        }
        return [.. special.OrderBy(token => token.Id)];
    }

    static Dictionary<string, int> ReadVocabulary(JsonElement vocab, SpecialToken[] special, out byte[]?[] vocabulary)
    {
        var ids = new Dictionary<string, int>();
        var specialId = special.ToDictionary(token => token.Content, token => token.Id);
        var tokens = new List<byte[]?>();
        foreach (JsonProperty entry in vocab.EnumerateObject())
        {
            int id = entry.Value.GetInt32();
            if (id is < 0 or >= TokenizerModel.VocabularySizeMax)
                throw new InvalidDataException($"token '{entry.Name}' has id {id}; ids run from 0 to {TokenizerModel.VocabularySizeMax - 1}.");
            if (!ids.TryAdd(entry.Name, id))
                throw new InvalidDataException($"token '{entry.Name}' appears twice in the vocabulary.");
            if (specialId.TryGetValue(entry.Name, out int given))
            {
                if (given != id)
                    throw new InvalidDataException($"token '{entry.Name}' has id {id} in the vocabulary and {given} among the added tokens.");
                continue;
            }
            if (!ByteLevel.TryToBytes(entry.Name, out byte[] bytes) || bytes.Length == 0)
                throw new InvalidDataException($"token '{entry.Name}' (id {id}) is not in the byte-level alphabet.");
            while (tokens.Count <= id)
                tokens.Add(null);
            if (tokens[id] is not null)
                throw new InvalidDataException($"id {id} names two tokens, '{ByteLevel.ToText(tokens[id])}' and '{entry.Name}'.");
            tokens[id] = bytes;
        }
        vocabulary = [.. tokens];
        return ids;
    }

    static List<(int, int)> ReadMerges(JsonElement merges, Dictionary<string, int> ids)
    {
        var pairs = new List<(int, int)>(merges.GetArrayLength());
        foreach (JsonElement merge in merges.EnumerateArray())
        {
            string[] sides = merge.ValueKind == JsonValueKind.Array
                ? [.. merge.EnumerateArray().Select(side => side.GetString()!)]
                : merge.GetString()!.Split(' ');
            if (sides.Length != 2 || !ids.TryGetValue(sides[0], out int left) || !ids.TryGetValue(sides[1], out int right) || !ids.ContainsKey(sides[0] + sides[1]))
                throw new InvalidDataException($"merge {pairs.Count}, {merge.GetRawText()}, does not join two tokens of the vocabulary into a third.");
            pairs.Add((left, right));
        }
        return pairs;
    }

    static PreTokenizerPattern ReadPattern(JsonElement root)
    {
        JsonElement cut = Present(root, "pre_tokenizer") ? root.GetProperty("pre_tokenizer") : throw new InvalidDataException("it has no pre_tokenizer; byte-level BPE needs ByteLevel.");
        JsonElement[] parts = cut.GetProperty("type").GetString() == "Sequence" ? [.. cut.GetProperty("pretokenizers").EnumerateArray()] : [cut];
        if (parts.Length is < 1 or > 2 || parts[^1].GetProperty("type").GetString() != "ByteLevel")
            throw new InvalidDataException($"its pre_tokenizer is {cut.GetRawText()}; understood are ByteLevel, and Split followed by ByteLevel.");
        if (parts[^1].TryGetProperty("add_prefix_space", out JsonElement prefix) && prefix.GetBoolean())
            throw new InvalidDataException("its ByteLevel pre_tokenizer sets add_prefix_space, which changes the text; only false is read.");
        bool usesGpt2 = !parts[^1].TryGetProperty("use_regex", out JsonElement regex) || regex.GetBoolean();
        if (parts.Length == 1)
            return usesGpt2 ? PreTokenizerPattern.Gpt2 : PreTokenizerPattern.None;

        JsonElement split = parts[0];
        string? pattern = split.GetProperty("type").GetString() == "Split" && split.GetProperty("behavior").GetString() == "Isolated" && !split.GetProperty("invert").GetBoolean()
            && split.GetProperty("pattern").TryGetProperty("Regex", out JsonElement text) && !usesGpt2 ? text.GetString() : null;
        return pattern switch
        {
            Gpt2Pattern => PreTokenizerPattern.Gpt2,
            Llama3Pattern => PreTokenizerPattern.Llama3,
            _ => throw new InvalidDataException($"its pre_tokenizer cuts by {split.GetRawText()}; understood are the patterns of GPT-2 and Llama 3, isolated."),
        };
    }

    /// <summary>The canonical tokenizer.json of a model, UTF-8.</summary>
    public static byte[] Write(TokenizerModel model)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, _canonical))
        {
            json.WriteStartObject();
            json.WriteString("version", "1.0");
            json.WriteNull("truncation");
            json.WriteNull("padding");
            json.WriteStartArray("added_tokens");
            foreach (SpecialToken token in model.Special)
                WriteSpecial(json, token);
            json.WriteEndArray();
            json.WriteNull("normalizer");
            json.WritePropertyName("pre_tokenizer");
            WritePreTokenizer(json, model.Pattern);
            json.WritePropertyName("post_processor");
            if (model.PostProcessor is null)
                json.WriteNullValue();
            else
                WriteCanonical(json, model.PostProcessor);
            json.WritePropertyName("decoder");
            WriteByteLevel(json, usesRegex: true);
            WriteModel(json, model);
            json.WriteEndObject();
        }
        return buffer.ToArray();
    }

    static void WriteSpecial(Utf8JsonWriter json, SpecialToken token)
    {
        json.WriteStartObject();
        json.WriteNumber("id", token.Id);
        json.WriteString("content", token.Content);
        json.WriteBoolean("single_word", false);
        json.WriteBoolean("lstrip", false);
        json.WriteBoolean("rstrip", false);
        json.WriteBoolean("normalized", false);
        json.WriteBoolean("special", token.IsSpecial);
        json.WriteEndObject();
    }

    static void WritePreTokenizer(Utf8JsonWriter json, PreTokenizerPattern pattern)
    {
        if (pattern != PreTokenizerPattern.Llama3)
        {
            WriteByteLevel(json, usesRegex: pattern == PreTokenizerPattern.Gpt2);
            return;
        }
        json.WriteStartObject();
        json.WriteString("type", "Sequence");
        json.WriteStartArray("pretokenizers");
        json.WriteStartObject();
        json.WriteString("type", "Split");
        json.WriteStartObject("pattern");
        json.WriteString("Regex", Llama3Pattern);
        json.WriteEndObject();
        json.WriteString("behavior", "Isolated");
        json.WriteBoolean("invert", false);
        json.WriteEndObject();
        WriteByteLevel(json, usesRegex: false);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void WriteByteLevel(Utf8JsonWriter json, bool usesRegex)
    {
        json.WriteStartObject();
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", true);
        json.WriteBoolean("use_regex", usesRegex);
        json.WriteEndObject();
    }

    // Raw text would keep the whitespace of the file it came from, and with it the hash.
    static void WriteCanonical(Utf8JsonWriter json, string value)
    {
        using JsonDocument document = JsonDocument.Parse(value);
        document.RootElement.WriteTo(json);
    }

    static void WriteModel(Utf8JsonWriter json, TokenizerModel model)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteNull("unk_token");
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", false);
        json.WriteBoolean("byte_fallback", false);
        json.WriteBoolean("ignore_merges", model.IgnoreMerges);
        json.WriteStartObject("vocab");
        var inVocabulary = model.Special.Where(token => token.InVocabulary).ToDictionary(token => token.Id, token => token.Content);
        for (int id = 0; id < model.VocabularySize; id++)
        {
            if (inVocabulary.TryGetValue(id, out string? content))
                json.WriteNumber(content, id);
            else if (id < model.Vocabulary.Length && model.Vocabulary[id] is { } bytes)
                json.WriteNumber(ByteLevel.ToText(bytes), id);
        }
        json.WriteEndObject();
        json.WriteStartArray("merges");
        var line = new StringBuilder();
        foreach ((int left, int right) in model.Merges)
        {
            line.Clear().Append(ByteLevel.ToText(model.Vocabulary[left])).Append(' ').Append(ByteLevel.ToText(model.Vocabulary[right]));
            json.WriteStringValue(line.ToString());
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
