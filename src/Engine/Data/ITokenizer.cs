// A tokenizer turns bytes into token ids and back: Decode(Encode(x)) = x for every byte string x, valid UTF-8 or not.
// Its identity is the SHA-256 of its canonical form, the tokenizer.json that ToJson writes; shards and checkpoints carry
// that hash, so that a tokenizer which does not fit is noticed before a single token is used.
// Every member may be called from several threads at once, with the same results as from one.
using System.Text;

namespace OrionNative.Engine.Data;

/// <summary>Bytes to token ids in <c>[0, VocabularySize)</c> and back.</summary>
interface ITokenizer
{
    /// <summary>One more than the largest id.</summary>
    int VocabularySize { get; }

    /// <summary>SHA-256 of <see cref="ToJson"/>, 64 lower-case hexadecimal digits.</summary>
    string Hash { get; }

    /// <summary>Tokens that stand for themselves, such as <c>&lt;|end_of_text|&gt;</c>, by content.</summary>
    IReadOnlyDictionary<string, int> SpecialTokens { get; }

    /// <summary>Appends the tokens of <paramref name="text"/>. Text is data: a special token spelled out in it becomes
    /// ordinary tokens unless <paramref name="recognizeSpecial"/> is set.</summary>
    void Encode(ReadOnlySpan<byte> text, List<int> tokens, bool recognizeSpecial = false);

    /// <summary>The bytes that the tokens stand for.</summary>
    /// <exception cref="InvalidDataException">An id is outside the vocabulary.</exception>
    byte[] Decode(ReadOnlySpan<int> tokens);

    /// <summary>The canonical form: a Hugging Face <c>tokenizer.json</c>, UTF-8.</summary>
    byte[] ToJson();
}

/// <summary>Conveniences over <see cref="ITokenizer"/>.</summary>
static class TokenizerExtensions
{
    /// <summary>The tokens of <paramref name="text"/> as UTF-8.</summary>
    public static List<int> Encode(this ITokenizer tokenizer, string text, bool recognizeSpecial = false)
    {
        var tokens = new List<int>(text.Length / 2);
        tokenizer.Encode(Encoding.UTF8.GetBytes(text), tokens, recognizeSpecial);
        return tokens;
    }

    /// <summary>The text of the tokens; bytes that are not UTF-8 show as U+FFFD.</summary>
    public static string DecodeText(this ITokenizer tokenizer, ReadOnlySpan<int> tokens) =>
        Encoding.UTF8.GetString(tokenizer.Decode(tokens));
}
