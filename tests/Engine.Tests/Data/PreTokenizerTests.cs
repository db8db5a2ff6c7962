using System.Text;
using System.Text.RegularExpressions;
using FsCheck;
using FsCheck.Fluent;
using OrionNative.Engine.Data;

namespace OrionNative.Engine.Tests.Data;

public class PreTokenizerTests
{
    static readonly Regex _gpt2 = new(TokenizerJson.Gpt2Pattern, RegexOptions.CultureInvariant);
    static readonly Regex _llama3 = new(TokenizerJson.Llama3Pattern, RegexOptions.CultureInvariant);

    static string[] Pieces(PreTokenizerPattern pattern, byte[] text)
    {
        var pieces = new List<string>();
        for (int at = 0, length; at < text.Length; at += length)
        {
            length = PreTokenizer.NextPiece(pattern, text.AsSpan(at));
            Assert.InRange(length, 1, text.Length - at);
            pieces.Add(Encoding.UTF8.GetString(text, at, length));
        }
        return [.. pieces];
    }

    static string[] Expected(PreTokenizerPattern pattern, string text) =>
        [.. (pattern == PreTokenizerPattern.Gpt2 ? _gpt2 : _llama3).Matches(text).Select(match => match.Value)];

    // .NET's folding leaves the long s out of (?i:'s); Rust's and Python's put it in (checked in the next test).
    static bool FoldsAlike(string text) => !text.Contains("'\u017f", StringComparison.Ordinal);

    [Theory]
    [InlineData(PreTokenizerPattern.Gpt2)]
    [InlineData(PreTokenizerPattern.Llama3)]
    internal void Scanner_RandomText_CutsLikeThePublishedPattern(PreTokenizerPattern pattern) => Prop.ForAll(Arb.From(TextGen.Bmp.Where(FoldsAlike)), text =>
        Pieces(pattern, Encoding.UTF8.GetBytes(text)).SequenceEqual(Expected(pattern, text))).Check(Config.QuickThrowOnFailure.WithMaxTest(20_000).WithQuietOnSuccess(true));

    [Fact]
    public void Llama3_LongS_FoldsToS() =>
        Assert.Equal(["it", "'\u017f", " x"], Pieces(PreTokenizerPattern.Llama3, Encoding.UTF8.GetBytes("it'\u017f x")));

    // Every code point of the plane, between its neighbours: the scanner's classes are the pattern's.
    [Theory]
    [InlineData(PreTokenizerPattern.Gpt2)]
    [InlineData(PreTokenizerPattern.Llama3)]
    internal void Scanner_EveryCodePoint_HasThePatternsClass(PreTokenizerPattern pattern)
    {
        var text = new StringBuilder();
        for (int code = 0; code < 0x10000; code++)
        {
            if (!char.IsSurrogate((char)code))
                text.Append('a').Append((char)code).Append("1 .").Append((char)code).Append(' ').Append((char)code);
        }
        Assert.Equal(Expected(pattern, text.ToString()), Pieces(pattern, Encoding.UTF8.GetBytes(text.ToString())));
    }

    // .NET's patterns see two surrogates where the scanner sees one code point, so the law is: replacing a code point by
    // one of the same class below U+10000 moves no cut.
    [Theory]
    [InlineData(PreTokenizerPattern.Gpt2)]
    [InlineData(PreTokenizerPattern.Llama3)]
    internal void Scanner_CodePointsBeyondTheFirstPlane_CutLikeTheirClass(PreTokenizerPattern pattern) => Prop.ForAll(Arb.From(TextGen.Any), text =>
    {
        string Twin(Rune rune) => rune.Value < 0x10000 ? rune.ToString() : Rune.IsLetter(rune) ? "a" : Rune.IsNumber(rune) ? "1" : "€";
        int[] Lengths(string other) => [.. Pieces(pattern, Encoding.UTF8.GetBytes(other)).Select(piece => piece.EnumerateRunes().Count())];
        return Lengths(text).SequenceEqual(Lengths(string.Concat(text.EnumerateRunes().Select(Twin))));
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(2_000).WithQuietOnSuccess(true));

    [Theory]
    [InlineData(PreTokenizerPattern.Gpt2)]
    [InlineData(PreTokenizerPattern.Llama3)]
    internal void SafeCut_AnyText_IsACutOfThePattern(PreTokenizerPattern pattern) => Prop.ForAll(Arb.From(TextGen.Bytes), text =>
    {
        int cut = CorpusReader.LastSafeCut(text);
        return Pieces(pattern, text).SequenceEqual((string[])[.. Pieces(pattern, text[..cut]), .. Pieces(pattern, text[cut..])]);
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(5_000).WithQuietOnSuccess(true));
}
