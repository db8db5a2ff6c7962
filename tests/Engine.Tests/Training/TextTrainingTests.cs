// What a trainer must do with a real text: use more than the last byte, learn nothing from labels that mean nothing.
using OrionNative.Engine.Tests.Tidy;

namespace OrionNative.Engine.Tests.Training;

public class TextTrainingTests
{
    const int LastSteps = 30;

    static readonly ModelConfig _model = new()
    {
        Vocabulary = 256,
        Width = 64,
        Layers = 2,
        QueryHeads = 4,
        KeyValueHeads = 4,
        HeadWidth = 16,
        FeedForward = 176,
        Context = 64,
    };

    static RunConfig Run(int steps) => new()
    {
        LearningRate = 8e-3,
        Steps = steps,
        Warmup = 20,
        MicrobatchSize = 16,
        Sequence = 64,
        Wire = WireFormat.Float32,
    };

    [Fact]
    public void Training_OnShakespeare_GoesWellBelowTheBigramEntropy()
    {
        byte[] text = Text();
        double loss = MeanOfLastLosses(new TextBatches(text, 64, shuffledTargets: false), Run(400));
        Assert.InRange(loss, 1.0, BigramEntropy(text) - 0.2);
    }

    [Fact]
    public void Training_OnShuffledLabels_StaysAtTheUnigramEntropy()
    {
        byte[] text = Text();
        double unigram = Entropy(Counts(text)), loss = MeanOfLastLosses(new TextBatches(text, 64, shuffledTargets: true), Run(200));

        // 30 steps of 1024 labels measure the mean to 1/175 of the label's own spread of about one nat; and there is
        // nothing below the entropy to be learned
        Assert.InRange(loss, unigram - 0.05, unigram + 0.15);
    }

    [Fact]
    public void Training_TwiceWithOneSeed_GivesTheSameHash()
    {
        byte[] text = Text();
        Assert.Equal(HashAfter(text, 10), HashAfter(text, 10));
    }

    static string HashAfter(byte[] text, int steps)
    {
        using CpuDevice device = new();
        using Trainer trainer = new(_model, Run(steps), device, new TextBatches(text, 64, shuffledTargets: false));
        for (int i = 0; i < steps; i++)
        {
            trainer.Step();
        }

        return trainer.WeightsHash();
    }

    static double MeanOfLastLosses(IBatchSource batches, RunConfig run)
    {
        using CpuDevice device = new();
        using Trainer trainer = new(_model, run, device, batches);
        double sum = 0;
        for (int i = 0; i < run.Steps; i++)
        {
            double loss = trainer.Step().Loss;
            sum += i >= run.Steps - LastSteps ? loss : 0;
        }

        return sum / LastSteps;
    }

    static byte[] Text()
    {
        for (DirectoryInfo? at = new(Repository.Root); at is not null; at = at.Parent)
        {
            string path = Path.Combine(at.FullName, "shared", "data", "tinyshakespeare.txt");
            if (File.Exists(path))
            {
                return File.ReadAllBytes(path);
            }
        }

        Assert.Skip("there is no shared/data/tinyshakespeare.txt beside or above the checkout; put the text there to run this test");
        return [];
    }

    static double BigramEntropy(byte[] text)
    {
        double[] pairs = new double[65536];
        for (int i = 1; i < text.Length; i++)
        {
            pairs[(text[i - 1] << 8) | text[i]]++;
        }

        return Entropy(pairs) - Entropy(Counts(text));
    }

    static double[] Counts(byte[] text)
    {
        double[] counts = new double[256];
        foreach (byte value in text)
        {
            counts[value]++;
        }

        return counts;
    }

    static double Entropy(double[] counts)
    {
        double total = counts.Sum();
        return counts.Where(count => count > 0).Sum(count => -count / total * Math.Log(count / total));
    }

    /// <summary>Windows at places that depend on the step; labels either the next bytes, or bytes from anywhere.</summary>
    sealed class TextBatches(byte[] text, int tokens, bool shuffledTargets) : IBatchSource
    {
        public void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets)
        {
            Random random = new((int)((step * 31) + microbatch));
            for (int start = 0; start < inputs.Length; start += tokens)
            {
                int at = random.Next(text.Length - tokens - 1);
                for (int i = 0; i < tokens; i++)
                {
                    inputs[start + i] = text[at + i];
                    targets[start + i] = shuffledTargets ? text[random.Next(text.Length)] : text[at + i + 1];
                }
            }
        }
    }
}
