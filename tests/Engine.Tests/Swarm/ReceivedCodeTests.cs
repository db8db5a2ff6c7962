// The wire really feeds the model: a stage that receives zeros instead of the code it was sent predicts worse.
using System.Runtime.InteropServices;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Pipeline;

namespace OrionNative.Engine.Tests.Swarm;

public sealed unsafe class ReceivedCodeTests(ITestOutputHelper output)
{
    const int Steps = 60;

    [Theory]
    [InlineData(BoundaryKind.Resbm, WireFormat.BFloat16)]
    [InlineData(BoundaryKind.Anchored, WireFormat.BFloat16)]
    [InlineData(BoundaryKind.Resbm, WireFormat.Int8)]
    public void ReceivedCode_Zeroed_LossIsWorse(BoundaryKind boundary, WireFormat wire)
    {
        using TemporaryFolder folder = new();
        string text = Path.Combine(folder.Path, "text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 2000).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
        RunConfig config = new() { Data = [text], Stages = 2, Steps = Steps, Sequence = 64, MicrobatchSize = 4, Microbatches = 1, LearningRate = 3e-3, Boundary = boundary, Wire = wire };
        ModelConfig model = ResolvedRun.From(config).Model;
        CodePayload payload = CodePayload.Of(model, config);
        using IDevice device = Devices.Open("cpu", 1);
        using StageWorker first = new(model, new StageRange(0, 2, 4), config, device, 1), last = new(model, new StageRange(2, 4, 4), config, device, 1);
        first.Initialize(1);
        last.Initialize(1);
        byte* code = (byte*)NativeMemory.AllocZeroed((nuint)payload.ForwardBytes), gradient = (byte*)NativeMemory.AllocZeroed((nuint)payload.CodeBytes);
        byte[] corpus = File.ReadAllBytes(text);
        Random random = new(3);
        for (int step = 1; step <= Steps; step++)
        {
            Fill(payload, corpus, random, code);
            _ = Loss(first, last, payload, code, gradient, isZeroed: false);
            first.Backward(0, null, code, gradient, null);
            foreach (StageWorker stage in (StageWorker[])[first, last])
            {
                stage.Gradients.BeginReduced();
                stage.Gradients.AddOwn();
                stage.Apply(step, 1);
            }
        }

        for (int i = 0; i < 4; i++)
        {
            Fill(payload, corpus, random, code);
            double loss = Loss(first, last, payload, code, gradient, isZeroed: false), zeroed = Loss(first, last, payload, code, gradient, isZeroed: true);
            output.WriteLine($"{boundary} {wire}: loss {loss:F3}, with zeros for the code {zeroed:F3}");
            Assert.True(zeroed > loss, $"zeros in place of the code give loss {zeroed:F4}, the code {loss:F4}");
        }

        NativeMemory.Free(code);
        NativeMemory.Free(gradient);
    }

    static double Loss(StageWorker first, StageWorker last, CodePayload payload, byte* code, byte* gradient, bool isZeroed)
    {
        first.Forward(0, null, code);
        if (isZeroed)
        {
            new Span<byte>(code, payload.CodeBytes).Clear();
        }

        last.Forward(0, code, null);
        return last.Backward(0, code, null, null, gradient);
    }

    static void Fill(CodePayload payload, byte[] corpus, Random random, byte* code)
    {
        int[] inputs = new int[payload.Rows], targets = new int[payload.Rows];
        for (int sequence = 0; sequence < payload.Sequences; sequence++)
        {
            int at = random.Next(corpus.Length - payload.Tokens - 1);
            for (int i = 0; i < payload.Tokens; i++)
            {
                (inputs[(sequence * payload.Tokens) + i], targets[(sequence * payload.Tokens) + i]) = (corpus[at + i], corpus[at + i + 1]);
            }
        }

        payload.WriteIds(inputs, targets, new Span<byte>(code + payload.CodeBytes, payload.IdsBytes));
    }
}
