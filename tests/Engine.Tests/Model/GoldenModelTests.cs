// The model against PyTorch, tensor by tensor. The golden side is double precision, so the whole difference is our single
// precision: 2^-24 of the largest element of the tensor for each rounding on the longest path, some hundred of them.
namespace OrionNative.Engine.Tests.Model;

public class GoldenModelTests
{
    const double Rounding = 1.0 / (1 << 24);

    public static TheoryData<string> Cases => ["plain", "resbm", "anchored", "anchored-factors"];

    [Theory, MemberData(nameof(Cases))]
    public void Weights_ByName_AreExactlyThoseOfTheOracle(string name)
    {
        using GoldenModel golden = new(name);
        using CpuDevice device = new(1);
        using ParameterSet parameters = new(golden.Model, StageRange.Whole(golden.Model), device, gradients: false);
        Assert.Equal(golden.WeightNames.Order(), parameters.All.Select(parameter => parameter.Name).Order());
        Assert.Equal(golden.Model.Parameters, parameters.All.Sum(parameter => parameter.Count));
    }

    [Theory, MemberData(nameof(Cases))]
    public void FirstStep_LogitsLossAndEveryGradient_AgreeWithPyTorch(string name)
    {
        using GoldenModel golden = new(name);
        using CpuDevice device = new(2);
        using ParameterSet parameters = new(golden.Model, StageRange.Whole(golden.Model), device, gradients: true);
        golden.LoadInto(parameters);
        using StageChain chain = new([parameters], new StageOptions(golden.Sequences, golden.Tokens, WireFormat.Float32));
        int rows = golden.Sequences * golden.Tokens;
        int[] inputs = new int[rows], targets = new int[rows];
        golden.Fill(0, 0, inputs, targets);

        chain.Forward(inputs, targets, golden.Tokens);
        AssertClose("logits", golden.Floats("logits"), Logits(chain.Stages[0]), 300);
        double loss = chain.Train(inputs, targets, golden.Tokens, 1f / rows) / rows;
        Assert.Equal(golden.Loss, loss, 50 * Rounding * golden.Loss);
        foreach (Parameter parameter in parameters.All)
        {
            AssertClose(parameter.Name, golden.Floats("gradient." + parameter.Name), GoldenModel.Read(device, parameter.Gradient), 300);
        }
    }

    static float[] Logits(StageModel stage)
    {
        IDevice device = stage.Parameters.Device;
        Tensor hidden = stage.Hidden(0);
        Tensor logits = new(device.Allocate(4L * hidden.Rows * stage.Model.Vocabulary, "logits"), ElementType.Float32, hidden.Rows, stage.Model.Vocabulary);
        device.Ops.MatrixProduct(hidden, false, stage.Parameters.Layout.Head.Value, true, logits, 1, 0);
        float[] values = GoldenModel.Read(device, logits);
        device.Free(logits.Address);
        return values;
    }

    static void AssertClose(string name, float[] expected, float[] found, double roundings)
    {
        Assert.Equal(expected.Length, found.Length);
        double tolerance = roundings * Rounding * expected.Max(Math.Abs), worst = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            worst = Math.Max(worst, Math.Abs((double)expected[i] - found[i]));
        }

        Assert.True(worst <= tolerance, $"{name}: off by {worst / tolerance * roundings:F0} roundings of its largest element {expected.Max(Math.Abs)}, allowed {roundings}");
    }

    public static TheoryData<string, OptimizerKind> Trainings
    {
        get
        {
            TheoryData<string, OptimizerKind> all = [];
            foreach (string name in new[] { "plain", "resbm", "anchored", "anchored-factors" })
            {
                all.Add(name, OptimizerKind.AdamW);
                all.Add(name, OptimizerKind.Muon);
            }

            return all;
        }
    }

    [Theory, MemberData(nameof(Trainings))]
    public void TenSteps_Losses_AgreeWithPyTorch(string name, OptimizerKind optimizer)
    {
        using GoldenModel golden = new(name);
        using CpuDevice device = new(2);
        RunConfig run = golden.Run(optimizer);
        using Trainer trainer = new(golden.Model, run, device, golden);
        foreach (ParameterSet parameters in trainer.Parameters)
        {
            golden.LoadInto(parameters);
        }

        double[] expected = golden.Doubles(optimizer == OptimizerKind.AdamW ? "losses.adamw" : "losses.muon");
        // The first loss is one forward pass: a few roundings. After that an AdamW step has the size of the rate even where a
        // gradient is nearly zero, so roundings turn into a few thousandths of a step there, and the loss feels that to second
        // order: the vector paths, which round differently, lie up to 3e-5 from each other. A wrong op is off by far more.
        double[] deviations = new double[golden.Steps];
        for (int step = 0; step < golden.Steps; step++)
        {
            deviations[step] = Math.Abs(trainer.Step().Loss - expected[step]) / expected[step];
        }

        Assert.True(deviations[0] <= 1e-6 && deviations.Max() <= 1e-4, "relative deviations by step: " + string.Join(", ", deviations.Select(deviation => deviation.ToString("0.0e+0"))));
    }
}
