// Head, softmax and cross-entropy against the oracle, gradients against central differences, and the law of a softmax: the
// probabilities of a row sum to 1, so the rows of the logits' gradient sum to 0.
// Bounds: a logit sums C products of the order of 1; its absolute error is the relative error of a probability.
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class ClassifierTests
{
    public static IEnumerable<object[]> Shapes => [[1, 1, 1], [1, 8, 17], [5, 33, 257], [300, 24, 67], [257, 64, 100]];

    [Theory, Devices(nameof(Shapes))]
    public void Classifier_AnyShape_AgreesWithOracle(string device, int rows, int width, int vocabulary)
    {
        using Workbench bench = new(device);
        const float scale = 0.125f;
        double[] hidden = bench.Normal(rows * width), head = bench.Normal(vocabulary * width, 1 / Math.Sqrt(width));
        double[] before = bench.Normal(vocabulary * width);
        int[] targets = bench.Ids(rows, vocabulary);
        if (rows > 2)
        {
            targets[1] = -1;
        }

        Tensor tensorHidden = bench.Compute(hidden, rows, width), tensorHead = bench.Compute(head, vocabulary, width), ids = bench.Int32(targets);
        Tensor losses = bench.UnwrittenSingle(rows, 1), again = bench.UnwrittenSingle(rows, 1);
        Tensor gradHidden = bench.Unwritten(rows, width), gradHead = bench.Single(before, vocabulary, width);
        nint scratch = bench.Scratch(bench.Ops.ClassifierBytes(rows, width, vocabulary));
        bench.Ops.Classifier(tensorHidden, tensorHead, ids, losses, gradHidden, gradHead, scale, scratch);
        bench.Ops.Classifier(tensorHidden, tensorHead, ids, again, default, default, 0, scratch);
        Assert.Equal(bench.Bits(losses), bench.Bits(again));

        (double[] expected, double[] dHidden, double[] dHead) = Oracle.Classifier(hidden, head, targets, width, vocabulary, scale);
        double bound = ((width + vocabulary + 16) * Math.ScaleB(1, -24)) + (4 * (bench.Unit > 1e-6 ? bench.Unit : 0));
        Close.Within(expected, bench.Get(losses), i => bound * (1 + Math.Abs(expected[i])), "loss");
        double largest = head.Max(Math.Abs) * scale * 2;
        Close.Within(dHidden, bench.Get(gradHidden), _ => bound * largest, "gradHidden");
        double rowsOfHidden = hidden.Max(Math.Abs) * scale * rows;
        double[] sum = [.. dHead.Zip(before, (a, b) => a + b)];
        Close.Within(sum, bench.Get(gradHead), i => bound * (rowsOfHidden + Math.Abs(sum[i])), "gradHead");
        if (rows > 2)
        {
            Assert.Equal(0, bench.Get(losses)[1]);
            Assert.All(bench.Get(gradHidden.RowRange(1, 1)), value => Assert.Equal(0, value));
        }
    }

    [Theory, Devices]
    public void Classifier_HeadRowsThatDifferByNothing_GiveNoGradient(string device)
    {
        // all rows of the head alike: a row's logit gradients sum to 0, so hidden gets none, and the loss is log V
        using Workbench bench = new(device);
        const int rows = 40, width = 8, vocabulary = 67;
        double[] one = bench.Normal(width);
        Tensor head = bench.Compute([.. Enumerable.Repeat(one, vocabulary).SelectMany(row => row)], vocabulary, width);
        Tensor losses = bench.UnwrittenSingle(rows, 1), gradHidden = bench.Unwritten(rows, width), gradHead = bench.Single(new double[vocabulary * width], vocabulary, width);
        bench.Ops.Classifier(bench.Compute(bench.Normal(rows * width), rows, width), head, bench.Int32(bench.Ids(rows, vocabulary)),
            losses, gradHidden, gradHead, 1, bench.Scratch(bench.Ops.ClassifierBytes(rows, width, vocabulary)));
        double bound = vocabulary * (Math.ScaleB(1, -24) + (bench.Unit > 1e-6 ? bench.Unit : 0)) * one.Max(Math.Abs);
        Assert.All(bench.Get(gradHidden), value => Assert.InRange(value, -bound, bound));
        Assert.All(bench.Get(losses), value => Assert.Equal(Math.Log(vocabulary), value, 1e-5 + (bench.Unit * 4)));
    }

    [Theory, Devices]
    public void Classifier_HugeLogits_StayFinite(string device)
    {
        using Workbench bench = new(device);
        Tensor losses = bench.UnwrittenSingle(2, 1);
        bench.Ops.Classifier(bench.Compute([1e4, -1e4], 2, 1), bench.Compute([1, 0, -1], 3, 1), bench.Int32([0, 0]), losses, default, default, 0,
            bench.Scratch(bench.Ops.ClassifierBytes(2, 1, 3)));
        double[] found = bench.Get(losses);
        Assert.Equal(0, found[0], 1e-6);
        Assert.InRange(found[1], 19_900, 20_100);   // bfloat16 rounds 1e4 to 9984
    }

    [Fact]
    public void Oracle_Gradients_AgreeWithCentralDifferences()
    {
        Random random = new(13);
        double[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextDouble() - 0.5)];
        double[] hidden = Values(4 * 3), head = Values(5 * 3);
        int[] targets = [2, -1, 0, 4];
        (_, double[] dHidden, double[] dHead) = Oracle.Classifier(hidden, head, targets, 3, 5, 0.5);
        Close.CentralDifferences(at => 0.5 * Oracle.Classifier(at, head, targets, 3, 5, 1).Losses.Sum(), hidden, dHidden, "hidden");
        Close.CentralDifferences(at => 0.5 * Oracle.Classifier(hidden, at, targets, 3, 5, 1).Losses.Sum(), head, dHead, "head");
    }
}
