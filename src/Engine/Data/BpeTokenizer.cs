// Byte-level BPE: text is cut into pieces, a piece starts as its bytes, and the pair with the earliest merge (leftmost
// first) is joined until none is left. Pieces repeat, so each encoder keeps the tokens of those it has seen.
// A short piece is merged by scanning for the smallest rank; a long one by a heap over a linked list, O(n log n), so a
// megabyte without a space is no trap. Encoders are rented per call: threads share nothing but read-only tables.
using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Frozen;

namespace OrionNative.Engine.Data;

/// <summary>A trained or loaded byte-level BPE tokenizer.</summary>
sealed class BpeTokenizer : ITokenizer
{
    readonly byte[] _json;
    readonly byte[]?[] _bytesOf;
    readonly BpeMerges _merges;
    readonly SpecialToken[] _specialLongestFirst;
    readonly SearchValues<byte> _specialStarts;
    readonly ConcurrentBag<BpeEncoder> _idle = [];

    /// <exception cref="InvalidDataException">A byte has no token, or a merge does not lead to one.</exception>
    public BpeTokenizer(TokenizerModel model)
    {
        Model = model;
        _merges = new BpeMerges(model);
        _json = TokenizerJson.Write(model);
        Hash = TokenizerJson.HashOf(_json);
        VocabularySize = model.VocabularySize;
        _bytesOf = new byte[]?[VocabularySize];
        model.Vocabulary.CopyTo(_bytesOf, 0);
        foreach (SpecialToken token in model.Special)
            _bytesOf[token.Id] = token.Bytes;
        _specialLongestFirst = [.. model.Special.OrderByDescending(token => token.Bytes.Length)];
        _specialStarts = SearchValues.Create([.. model.Special.Select(token => token.Bytes[0])]);
        SpecialTokens = model.Special.ToFrozenDictionary(token => token.Content, token => token.Id);
    }

    /// <summary>What it was made from.</summary>
    public TokenizerModel Model { get; }

    public int VocabularySize { get; }

    public string Hash { get; }

    public IReadOnlyDictionary<string, int> SpecialTokens { get; }

    public byte[] ToJson() => _json.AsSpan().ToArray();

    public void Encode(ReadOnlySpan<byte> text, List<int> tokens, bool recognizeSpecial = false)
    {
        if (!_idle.TryTake(out BpeEncoder? encoder))
            encoder = new BpeEncoder(_merges);
        while (recognizeSpecial && FindSpecial(text, out SpecialToken? special) is >= 0 and int at)
        {
            encoder.Encode(text[..at], tokens);
            tokens.Add(special!.Id);
            text = text[(at + special.Bytes.Length)..];
        }
        encoder.Encode(text, tokens);
        _idle.Add(encoder);
    }

    // The leftmost special token, the longest of those that begin there.
    int FindSpecial(ReadOnlySpan<byte> text, out SpecialToken? found)
    {
        for (int at = 0; at < text.Length; at++)
        {
            int step = text[at..].IndexOfAny(_specialStarts);
            if (step < 0)
                break;
            at += step;
            foreach (SpecialToken token in _specialLongestFirst)
            {
                if (text[at..].StartsWith(token.Bytes))
                {
                    found = token;
                    return at;
                }
            }
        }
        found = null;
        return -1;
    }

    public byte[] Decode(ReadOnlySpan<int> tokens)
    {
        int length = 0;
        for (int i = 0; i < tokens.Length; i++)
        {
            if ((uint)tokens[i] >= (uint)VocabularySize || _bytesOf[tokens[i]] is null)
                throw new InvalidDataException($"Token {tokens[i]} at position {i} is not in the vocabulary of {VocabularySize} ids; decode with the tokenizer that made it.");
            length += _bytesOf[tokens[i]]!.Length;
        }
        var bytes = new byte[length];
        int at = 0;
        foreach (int token in tokens)
        {
            _bytesOf[token]!.CopyTo(bytes, at);
            at += _bytesOf[token]!.Length;
        }
        return bytes;
    }
}
