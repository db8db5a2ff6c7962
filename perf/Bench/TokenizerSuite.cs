// Training a byte-level BPE tokenizer of 4096 ids, and encoding with it. Target: 12 MB in well under a minute.
// Prediction, before the first run: counting pieces at 20 MB/s a thread, then 3,840 merges over some 200,000 distinct pieces
// with queues that follow the pairs: 2 s.
using System.Diagnostics;
using System.Text.Json.Nodes;
using OrionNative.Engine.Data;

namespace OrionNative.Bench;

static class TokenizerSuite
{
    const int Samples = 5, Vocabulary = 4096;

    /// <summary>Arguments: the texts.</summary>
    public static int Run(string[] arguments)
    {
        if (arguments.Length == 0)
        {
            throw new FormatException("give text files to train on, about 12 MB");
        }

        CorpusReader corpus = new(arguments);
        BpeTrainingOptions options = new() { VocabularySize = Vocabulary };
        double[] training = new double[Samples], encoding = new double[Samples];
        long tokens = 0;
        for (int i = 0; i < Samples; i++)
        {
            long began = Stopwatch.GetTimestamp();
            BpeTokenizer tokenizer = BpeTrainer.Train(corpus, options);
            training[i] = Stopwatch.GetElapsedTime(began).TotalSeconds;
            began = Stopwatch.GetTimestamp();
            tokens = corpus.Read().AsParallel().WithDegreeOfParallelism(options.Threads).Sum(segment => Count(tokenizer, segment.Text));
            encoding[i] = Stopwatch.GetElapsedTime(began).TotalSeconds;
            Console.WriteLine($"{corpus.Bytes / 1e6:F1} MB: trained in {training[i]:F2} s, encoded in {encoding[i]:F2} s ({corpus.Bytes / encoding[i] / 1e6:F1} MB/s, {corpus.Bytes / (double)tokens:F2} bytes a token)");
        }

        Append("tokenizer.train", $"{Vocabulary} ids, {options.Threads} threads", corpus, training);
        Append("tokenizer.encode", $"{Vocabulary} ids, {options.Threads} threads, {tokens} tokens", corpus, encoding);
        return 0;
    }

    static long Count(BpeTokenizer tokenizer, byte[] text)
    {
        List<int> tokens = [];
        tokenizer.Encode(text, tokens);
        return tokens.Count;
    }

    static void Append(string scenario, string shape, CorpusReader corpus, double[] seconds) => Records.Append("engine.jsonl", new JsonObject
    {
        ["device"] = "cpu",
        ["scenario"] = scenario,
        ["shape"] = shape,
        ["files"] = new JsonArray([.. corpus.Files.Select(file => (JsonNode)Path.GetFileName(file))]),
        ["bytes"] = corpus.Bytes,
        ["timeMsSamples"] = Records.Milliseconds(seconds),
        ["timeMsMedian"] = Math.Round(Clock.Median(seconds) * 1e3, 1),
    });
}
