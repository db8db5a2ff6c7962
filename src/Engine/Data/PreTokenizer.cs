// Cuts text into the pieces that BPE merges within: hand-written scanners for the two published patterns (TokenizerJson
// has them), several times faster than a regular expression and, unlike .NET's, over code points beyond U+FFFF too.
// A scanner only asks for the class of a code point: letter (\p{L}), number (\p{N}), white space (\s), or other.
// A byte that is not UTF-8 counts as one code point of class other, so that every byte string has pieces.
using System.Buffers;
using System.Globalization;
using System.Text;

namespace OrionNative.Engine.Data;

static class PreTokenizer
{
    enum Class : byte
    {
        Other,
        Letter,
        Number,
        Space,
        NewLine, // \r and \n, which are white space too
    }

    static readonly Class[] _classes = [.. Enumerable.Range(0, 0x10000).Select(Classify)];

    /// <summary>The length in bytes of the first piece; the text is not empty.</summary>
    public static int NextPiece(PreTokenizerPattern pattern, ReadOnlySpan<byte> text) => pattern switch
    {
        PreTokenizerPattern.Gpt2 => NextGpt2(text),
        PreTokenizerPattern.Llama3 => NextLlama3(text),
        _ => text.Length,
    };

    // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    static int NextGpt2(ReadOnlySpan<byte> text)
    {
        if (Contraction(text, ignoreCase: false) is > 0 and int contraction)
            return contraction;
        int start = text[0] == (byte)' ' ? 1 : 0;
        Class kind = start < text.Length ? ClassAt(text, start, out _) : Class.Space;
        return kind < Class.Space ? RunEnd(text, start, kind) : SpaceEnd(text, SpaceRunEnd(text, 0, out int last, out _), last);
    }

    // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
    static int NextLlama3(ReadOnlySpan<byte> text)
    {
        if (Contraction(text, ignoreCase: true) is > 0 and int contraction)
            return contraction;
        Class first = ClassAt(text, 0, out int firstBytes);
        if (first == Class.Letter)
            return RunEnd(text, firstBytes, Class.Letter);
        if (first == Class.Number)
            return RunEnd(text, firstBytes, Class.Number, countMax: 2);
        Class second = firstBytes < text.Length ? ClassAt(text, firstBytes, out _) : Class.Space;
        if (second == Class.Letter && first != Class.NewLine)
            return RunEnd(text, firstBytes, Class.Letter);
        if (first == Class.Other || (text[0] == (byte)' ' && second == Class.Other))
            return RunEnd(text, RunEnd(text, firstBytes, Class.Other), Class.NewLine);

        int end = SpaceRunEnd(text, 0, out int last, out int newLineEnd);
        return newLineEnd > 0 ? newLineEnd : SpaceEnd(text, end, last);
    }

    static int Contraction(ReadOnlySpan<byte> text, bool ignoreCase)
    {
        if (text[0] != (byte)'\'' || text.Length < 2)
            return 0;
        // U+017F, the long s, folds to s.
        if (ignoreCase && text.Length > 2 && text[1] == 0xC5 && text[2] == 0xBF)
            return 3;
        int fold = ignoreCase ? 0x20 : 0;
        int second = text[1] | (IsUpper(text[1]) ? fold : 0);
        if (second is 's' or 't' or 'm' or 'd')
            return 2;
        int third = text.Length > 2 ? text[2] | (IsUpper(text[2]) ? fold : 0) : 0;
        return (second, third) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? 3 : 0;
    }

    static bool IsUpper(byte value) => value is >= (byte)'A' and <= (byte)'Z';

    // \s+(?!\S) gives back the last code point of a run that text follows, unless it is the only one.
    static int SpaceEnd(ReadOnlySpan<byte> text, int end, int last) => end == text.Length || last == 0 ? end : last;

    static int RunEnd(ReadOnlySpan<byte> text, int at, Class kind, int countMax = int.MaxValue)
    {
        while (at < text.Length && countMax-- > 0 && ClassAt(text, at, out int bytes) == kind)
            at += bytes;
        return at;
    }

    static int SpaceRunEnd(ReadOnlySpan<byte> text, int at, out int last, out int newLineEnd)
    {
        last = newLineEnd = 0;
        while (at < text.Length && ClassAt(text, at, out int bytes) is >= Class.Space and Class kind)
        {
            last = at;
            at += bytes;
            if (kind == Class.NewLine)
                newLineEnd = at;
        }
        return at;
    }

    static Class ClassAt(ReadOnlySpan<byte> text, int at, out int bytes)
    {
        byte first = text[at];
        if (first < 0x80)
        {
            bytes = 1;
            return _classes[first];
        }
        if (Rune.DecodeFromUtf8(text[at..], out Rune rune, out bytes) != OperationStatus.Done)
        {
            bytes = 1;
            return Class.Other;
        }
        return rune.Value < _classes.Length ? _classes[rune.Value] : Classify(rune.Value);
    }

    static Class Classify(int codePoint) => CharUnicodeInfo.GetUnicodeCategory(codePoint) switch
    {
        <= UnicodeCategory.OtherLetter => Class.Letter,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Class.Number,
        UnicodeCategory.SpaceSeparator or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator => Class.Space,
        _ when codePoint is '\n' or '\r' => Class.NewLine,
        _ when codePoint is (>= '\t' and <= '\r') or 0x85 => Class.Space,
        _ => Class.Other,
    };
}
