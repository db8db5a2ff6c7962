// The tokenizer that needs no training: a token is a byte and its id is the byte's value, 0 to 255.
// Its canonical form is a byte-level BPE without merges whose vocabulary is in byte order, so Hugging Face reads it too.
using System.Collections.Frozen;
using System.Runtime.InteropServices;

namespace OrionNative.Engine.Data;

/// <summary>Ids are byte values; there are no special tokens.</summary>
sealed class ByteTokenizer : ITokenizer
{
    /// <summary>The only instance; it holds no state.</summary>
    public static readonly ByteTokenizer Instance = new();

    readonly byte[] _json = TokenizerJson.Write(TokenizerModel.Bytes);

    ByteTokenizer() => Hash = TokenizerJson.HashOf(_json);

    public int VocabularySize => 256;

    public string Hash { get; }

    public IReadOnlyDictionary<string, int> SpecialTokens => FrozenDictionary<string, int>.Empty;

    public void Encode(ReadOnlySpan<byte> text, List<int> tokens, bool recognizeSpecial = false)
    {
        int start = tokens.Count;
        CollectionsMarshal.SetCount(tokens, start + text.Length);
        Span<int> destination = CollectionsMarshal.AsSpan(tokens)[start..];
        for (int i = 0; i < text.Length; i++)
            destination[i] = text[i];
    }

    public byte[] Decode(ReadOnlySpan<int> tokens)
    {
        var bytes = new byte[tokens.Length];
        for (int i = 0; i < bytes.Length; i++)
        {
            if ((uint)tokens[i] > 255)
                throw new InvalidDataException($"Token {tokens[i]} at position {i} is outside the byte vocabulary of 256 ids; decode with the tokenizer that made it.");
            bytes[i] = (byte)tokens[i];
        }
        return bytes;
    }

    public byte[] ToJson() => _json.AsSpan().ToArray();
}
