// Random text that is hard on tokenizers: white space of every kind, contractions, digits, letters of many scripts,
// code points beyond U+FFFF, and, for bytes, sequences that are not UTF-8.
using System.Text;
using FsCheck;
using FsCheck.Fluent;

namespace OrionNative.Engine.Tests.Data;

static class TextGen
{
    static readonly string[] _parts =
    [
        " ", "  ", "\t", "\n", "\r", "\r\n", "\n\n", " \n ", "\u00a0", "\u0085", "\u2003", "\u3000", "\v", "\u2028", "\u200b", "\u001c",
        "'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'lL", "'d", "'", "''", "'\u017f", "\u2019s", "'x",
        "a", "b", "the", "Hello", "é", "ß", "ж", "中文", "ǅ", "ʰ", "ª", "İ", "e\u0301", "\u0301",
        "0", "1", "12", "123", "1234", "9876543210", "½", "Ⅷ", "٣", "①",
        ".", ",", "!?", "(", ")", "_", "-", "=>", "€", "\u0000", "\u00ad", "\ufffd", "\ue000",
    ];

    // Beyond U+FFFF: a letter, a number, and others.
    static readonly string[] _astral = ["😀", "𝐀", "𝟘", "𐐷", "🇩🇪", "𠀀", "𐄇"];

    public static Gen<string> Bmp { get; } = Gen.ArrayOf(Gen.Elements(_parts)).Select(string.Concat);

    public static Gen<string> Any { get; } = Gen.ArrayOf(Gen.Elements((string[])[.. _parts, .. _astral])).Select(string.Concat);

    public static Gen<byte[]> Bytes { get; } = Gen.OneOf(
        Any.Select(Encoding.UTF8.GetBytes),
        Gen.ArrayOf(Gen.Choose(0, 255)).Select(values => values.Select(value => (byte)value).ToArray()),
        from text in Any
        from cut in Gen.Choose(0, 7)
        from lone in Gen.Choose(128, 255)
        select (byte[])[.. Encoding.UTF8.GetBytes(text).Skip(cut), (byte)lone, .. Encoding.UTF8.GetBytes(text).SkipLast(cut)],
        // Long runs without a cut take the path for long pieces.
        from letters in Gen.ArrayOf(Gen.Elements((byte)'a', (byte)'b', (byte)'c'))
        from times in Gen.Choose(1, 12)
        select Enumerable.Repeat(letters, times).SelectMany(all => all).ToArray());
}
