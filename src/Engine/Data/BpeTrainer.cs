// Trains byte-level BPE: cut the corpus into pieces, count each distinct piece once, then again and again join the pair of
// tokens that occurs most often (Sennrich et al. 2016; on bytes, Radford et al. 2019). Ties go to the pair with the smaller
// left id, then the smaller right id, so the result depends on the text alone, not on threads or the order of files.
// Ids: bytes by value, then merges in order, then special tokens.
using System.Collections.Concurrent;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Data;

/// <summary>What to train.</summary>
sealed record BpeTrainingOptions
{
    /// <summary>Ids in all, special tokens included; above 256.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>How text is cut before merging.</summary>
    public PreTokenizerPattern Pattern { get; init; } = PreTokenizerPattern.Llama3;

    /// <summary>Contents of special tokens; they get the last ids.</summary>
    public IReadOnlyList<string> SpecialTokens { get; init; } = [];

    /// <summary>Threads that count.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;
}

/// <summary>How far training has come: first bytes are counted, then tokens are made.</summary>
readonly record struct BpeTrainingProgress(long BytesCounted, long BytesTotal, int TokensMade, int TokensTotal);

static class BpeTrainer
{
    const int ReportEvery = 64;

    /// <summary>Trains a tokenizer on a corpus.</summary>
    /// <exception cref="ConfigurationException">The vocabulary is impossible, or the corpus too small for it.</exception>
    public static BpeTokenizer Train(CorpusReader corpus, BpeTrainingOptions options, Action<BpeTrainingProgress>? progress = null, CancellationToken cancellation = default)
    {
        int ordinary = options.VocabularySize - options.SpecialTokens.Count;
        if (ordinary <= 256 || options.VocabularySize > TokenizerModel.VocabularySizeMax)
            throw new ConfigurationException($"A vocabulary of {options.VocabularySize} with {options.SpecialTokens.Count} special tokens cannot be trained: give {257 + options.SpecialTokens.Count} to {TokenizerModel.VocabularySizeMax} ids (256 are the bytes).");
        if (options.SpecialTokens.Any(content => content.Length == 0) || options.SpecialTokens.Distinct().Count() < options.SpecialTokens.Count)
            throw new ConfigurationException("Special tokens must be different from each other and not empty.");

        PieceCounts pieces = Count(corpus, options, progress, cancellation);
        var vocabulary = new List<byte[]>(ordinary);
        vocabulary.AddRange(TokenizerModel.Bytes.Vocabulary!);
        List<(int, int)> merges = Merge(new BpePairs(pieces), vocabulary, ordinary, made =>
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Invoke(new BpeTrainingProgress(corpus.Bytes, corpus.Bytes, made, options.VocabularySize));
        });
        return new BpeTokenizer(new TokenizerModel
        {
            Vocabulary = [.. vocabulary],
            Merges = merges,
            Special = [.. options.SpecialTokens.Select((content, i) => new SpecialToken(content, ordinary + i))],
            Pattern = options.Pattern,
        });
    }

    static PieceCounts Count(CorpusReader corpus, BpeTrainingOptions options, Action<BpeTrainingProgress>? progress, CancellationToken cancellation)
    {
        var all = new PieceCounts();
        long counted = 0;
        Parallel.ForEach(
            Partitioner.Create(corpus.Read(), EnumerablePartitionerOptions.NoBuffering),
            new ParallelOptions { MaxDegreeOfParallelism = options.Threads, CancellationToken = cancellation },
            () => new PieceCounts(),
            (segment, _, own) =>
            {
                own.AddText(options.Pattern, segment.Text);
                long done = Interlocked.Add(ref counted, segment.Text.Length);
                if (progress is not null)
                {
                    lock (all)
                        progress(new BpeTrainingProgress(done, corpus.Bytes, 0, options.VocabularySize));
                }
                return own;
            },
            own =>
            {
                lock (all)
                    all.Add(own);
            });
        return all;
    }

    static List<(int, int)> Merge(BpePairs pairs, List<byte[]> vocabulary, int size, Action<int> report)
    {
        var merges = new List<(int, int)>(size - vocabulary.Count);
        var known = new ByteStringTable(size);
        foreach (byte[] token in vocabulary)
            known.FindOrAdd(token);
        var made = new HashSet<(int, int)>();
        while (vocabulary.Count < size)
        {
            if (!pairs.TryTakeMostFrequent(out int left, out int right))
                throw new ConfigurationException($"The text has too few repeated pairs for a vocabulary of {size} ordinary tokens: it yields {vocabulary.Count}. Give more text or a smaller --vocabulary.");
            byte[] joined = [.. vocabulary[left], .. vocabulary[right]];
            // Two merges can spell the same bytes (ab+c, a+bc); they share one id.
            int id = known.FindOrAdd(joined);
            if (id == vocabulary.Count)
                vocabulary.Add(joined);
            // A pair that was joined before can appear again once two merges share an id; the old merge then applies again.
            if (made.Add((left, right)))
                merges.Add((left, right));
            pairs.Join(left, right, id);
            if (merges.Count % ReportEvery == 0)
                report(vocabulary.Count);
        }
        report(vocabulary.Count);
        return merges;
    }
}

/// <summary>Distinct pieces and how often each occurs.</summary>
sealed class PieceCounts
{
    readonly List<long> _times = [];

    public ByteStringTable Pieces { get; } = new(1 << 12);

    public IReadOnlyList<long> Times => _times;

    public void AddText(PreTokenizerPattern pattern, ReadOnlySpan<byte> text)
    {
        while (!text.IsEmpty)
        {
            int length = PreTokenizer.NextPiece(pattern, text);
            Add(text[..length], 1);
            text = text[length..];
        }
    }

    public void Add(PieceCounts other)
    {
        for (int number = 0; number < other.Pieces.Count; number++)
            Add(other.Pieces[number], other._times[number]);
    }

    void Add(ReadOnlySpan<byte> piece, long times)
    {
        int number = Pieces.FindOrAdd(piece);
        if (number == _times.Count)
            _times.Add(times);
        else
            _times[number] += times;
    }
}
