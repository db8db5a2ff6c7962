// Reads a corpus as a sequence of text segments. A .jsonl file gives one document a line, the string in a named field;
// any other file is one document of plain bytes. A long document comes in segments of about 1 MB that are cut only after a
// lone newline between printable ASCII characters: no pre-tokenizer pattern joins across that place or looks beyond it, so
// encoding the segments one by one, on any thread, gives the tokens of the whole document.
using System.Buffers;
using System.Text;
using System.Text.Json;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Data;

/// <summary>A part of a document.</summary>
/// <param name="Text">Its bytes.</param>
/// <param name="EndsDocument">It is the last part.</param>
readonly record struct CorpusSegment(byte[] Text, bool EndsDocument);

/// <summary>Text files and JSON lines as segments, in a fixed order.</summary>
sealed class CorpusReader
{
    const int SegmentBytes = 1 << 20;

    readonly string _field;

    /// <param name="patterns">Files, folders or globs.</param>
    /// <param name="field">The field of a .jsonl line that holds the text.</param>
    public CorpusReader(IEnumerable<string> patterns, string field = "text")
    {
        Files = CorpusFiles.Resolve(patterns);
        Bytes = Files.Sum(file => new FileInfo(file).Length);
        _field = field;
    }

    /// <summary>The files, in reading order.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>The size of all files.</summary>
    public long Bytes { get; }

    /// <summary>The field of a .jsonl line that holds the text.</summary>
    public string Field => _field;

    /// <summary>The corpus, segment by segment.</summary>
    /// <exception cref="InvalidDataException">A file cannot be read or a line has no text; the message names file and line.</exception>
    public IEnumerable<CorpusSegment> Read() => Files.SelectMany(file => IsJsonLines(file) ? ReadJsonLines(file) : ReadText(file));

    static bool IsJsonLines(string file) => Path.GetExtension(file) is ".jsonl" or ".ndjson";

    static FileStream Open(string file)
    {
        try
        {
            return new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16, FileOptions.SequentialScan);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"Cannot read '{file}': {error.Message}", error);
        }
    }

    static IEnumerable<CorpusSegment> ReadText(string file)
    {
        using FileStream stream = Open(file);
        var buffer = new byte[SegmentBytes];
        int held = 0;
        while (true)
        {
            int read = stream.Read(buffer, held, buffer.Length - held);
            held += read;
            if (read == 0)
                break;
            if (held < buffer.Length)
                continue;
            int cut = LastSafeCut(buffer);
            if (cut == 0)
            {
                Array.Resize(ref buffer, checked(buffer.Length * 2));
                continue;
            }
            yield return new CorpusSegment(buffer[..cut], EndsDocument: false);
            buffer.AsSpan(cut, held - cut).CopyTo(buffer);
            held -= cut;
        }
        if (stream.Length > 0)
            yield return new CorpusSegment(buffer[..held], EndsDocument: true);
    }

    /// <summary>The last position after a newline that stands alone between printable ASCII characters, or 0. Alone,
    /// because \s+(?!\S) takes two newlines together at the end of a text and apart before a letter.</summary>
    internal static int LastSafeCut(ReadOnlySpan<byte> text)
    {
        for (int cut = text.Length - 1; cut > 1; cut--)
        {
            if (text[cut - 1] == (byte)'\n' && IsPrintable(text[cut]) && IsPrintable(text[cut - 2]))
                return cut;
        }
        return 0;
    }

    static bool IsPrintable(byte value) => value is > (byte)' ' and <= (byte)'~';

    IEnumerable<CorpusSegment> ReadJsonLines(string file)
    {
        using FileStream stream = Open(file);
        var line = new ArrayBufferWriter<byte>(1 << 16);
        var block = new byte[1 << 16];
        long number = 0;
        int read;
        while ((read = stream.Read(block)) > 0)
        {
            int start = 0, newline;
            while ((newline = Array.IndexOf(block, (byte)'\n', start, read - start)) >= 0)
            {
                line.Write(block.AsSpan(start, newline - start));
                start = newline + 1;
                number++;
                if (Parse(line.WrittenSpan, file, number) is { } text)
                    yield return new CorpusSegment(text, EndsDocument: true);
                line.ResetWrittenCount();
            }
            line.Write(block.AsSpan(start, read - start));
        }
        if (line.WrittenCount > 0 && Parse(line.WrittenSpan, file, number + 1) is { } last)
            yield return new CorpusSegment(last, EndsDocument: true);
    }

    byte[]? Parse(ReadOnlySpan<byte> line, string file, long number)
    {
        if (line.Trim(" \t\r"u8).IsEmpty)
            return null;
        var names = new List<string>();
        try
        {
            var json = new Utf8JsonReader(line);
            if (!json.Read() || json.TokenType != JsonTokenType.StartObject)
                throw new InvalidDataException($"{file} line {number}: expected a JSON object, found {json.TokenType}.");
            byte[]? found = null;
            while (json.Read() && json.TokenType == JsonTokenType.PropertyName)
            {
                string name = json.GetString()!;
                json.Read();
                if (name == _field)
                    found = json.TokenType == JsonTokenType.String ? Encoding.UTF8.GetBytes(json.GetString()!)
                        : throw new InvalidDataException($"{file} line {number}: field '{_field}' is {json.TokenType}, not a string.");
                names.Add(name);
                json.Skip();
            }
            // Reading on finds text after the object, which would otherwise be dropped in silence.
            while (json.Read()) { }
            return found ?? throw new ConfigurationException($"{file} line {number}: no field '{_field}'; found {string.Join(", ", names.Select(name => $"'{name}'"))}. Name the field that holds the text with --field.");
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException)
        {
            throw new InvalidDataException($"{file} line {number}: {error.Message}", error);
        }
    }
}
