// What a byte-level BPE tokenizer consists of, as plain data: the trainer makes it, TokenizerJson reads and writes it,
// BpeTokenizer runs it. A token is a byte string; a merge joins two tokens into the token of their joined bytes, and the
// earlier merge in the list wins.
using System.Text;

namespace OrionNative.Engine.Data;

/// <summary>How text is cut into pieces before merging; no merge crosses a cut.</summary>
enum PreTokenizerPattern
{
    /// <summary>No cut: the whole text is one piece.</summary>
    None,

    /// <summary>GPT-2's pattern.</summary>
    Gpt2,

    /// <summary>Llama 3's pattern.</summary>
    Llama3,
}

/// <summary>A token outside the merges that stands for its own content.</summary>
/// <param name="Content">The text of the token.</param>
/// <param name="Id">Its id.</param>
/// <param name="IsSpecial">Hugging Face's <c>special</c> flag: left out when text is decoded for people.</param>
/// <param name="InVocabulary">It also appears in the model's vocabulary (as in GPT-2's file).</param>
sealed record SpecialToken(string Content, int Id, bool IsSpecial = true, bool InVocabulary = false)
{
    /// <summary>The content as UTF-8.</summary>
    public byte[] Bytes { get; } = Encoding.UTF8.GetBytes(Content);
}

/// <summary>A complete byte-level BPE tokenizer.</summary>
sealed class TokenizerModel
{
    /// <summary>The byte tokenizer: 256 one-byte tokens in byte order, no merges.</summary>
    public static readonly TokenizerModel Bytes = new()
    {
        Vocabulary = [.. Enumerable.Range(0, 256).Select(value => new[] { (byte)value })],
        Merges = [],
        Pattern = PreTokenizerPattern.None,
    };

    /// <summary>Ids run below this, far above any tokenizer in use; a larger one is a damaged file.</summary>
    public const int VocabularySizeMax = 1 << 24;

    /// <summary>Id to bytes; null where no ordinary token has the id.</summary>
    public required byte[]?[] Vocabulary { get; init; }

    /// <summary>Pairs of ids, most important first.</summary>
    public required IReadOnlyList<(int Left, int Right)> Merges { get; init; }

    /// <summary>Special tokens in the order of their ids.</summary>
    public IReadOnlyList<SpecialToken> Special { get; init; } = [];

    /// <summary>How text is cut into pieces.</summary>
    public required PreTokenizerPattern Pattern { get; init; }

    /// <summary>A piece that is itself a token is taken whole, whatever the merges say (Llama 3).</summary>
    public bool IgnoreMerges { get; init; }

    /// <summary>Hugging Face's <c>post_processor</c> as JSON, kept for writing; encoding here never adds tokens.</summary>
    public string? PostProcessor { get; init; }

    /// <summary>One more than the largest id.</summary>
    public int VocabularySize => Math.Max(Vocabulary.Length, Special.Count == 0 ? 0 : Special.Max(token => token.Id) + 1);
}
