// Byte-level alphabet of GPT-2: every byte is written as one printable character, so that a vocabulary of byte strings
// fits in JSON. The 188 printable Latin-1 bytes stand for themselves; the other 68, in order, become U+0100 to U+0143.
// Source: Radford et al. 2019, bytes_to_unicode. The map is a bijection; its inverse rejects any other character.
namespace OrionNative.Engine.Data;

static class ByteLevel
{
    const int CharactersMax = 0x100 + 68;

    static readonly char[] _characterOf = MakeCharacters();
    static readonly short[] _byteOf = MakeInverse();

    /// <summary>The printable form of a byte string.</summary>
    public static string ToText(ReadOnlySpan<byte> bytes) => string.Create(bytes.Length, bytes, static (text, source) =>
    {
        for (int i = 0; i < text.Length; i++)
            text[i] = _characterOf[source[i]];
    });

    /// <summary>The bytes of a printable form; false if a character is not of the alphabet.</summary>
    public static bool TryToBytes(ReadOnlySpan<char> text, out byte[] bytes)
    {
        bytes = new byte[text.Length];
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] >= CharactersMax || _byteOf[text[i]] < 0)
                return false;
            bytes[i] = (byte)_byteOf[text[i]];
        }
        return true;
    }

    static char[] MakeCharacters()
    {
        var characters = new char[256];
        int next = 0x100;
        for (int value = 0; value < 256; value++)
        {
            bool printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            characters[value] = printable ? (char)value : (char)next++;
        }
        return characters;
    }

    static short[] MakeInverse()
    {
        var bytes = new short[CharactersMax];
        Array.Fill(bytes, (short)-1);
        for (int value = 0; value < 256; value++)
            bytes[_characterOf[value]] = (short)value;
        return bytes;
    }
}
