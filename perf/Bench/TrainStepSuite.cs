// A training step of preset 30m, 4 x 512 tokens, Float32, beside the same model in eager PyTorch: steps in turns, the ratio
// of the medians. Model FLOP a token: 6*N_matmul + 6*L*C*T. Goal: 3 times the peer's tokens a second, at least 2.5.
// Prediction, before the first run: 2048 tokens * 174 MFLOP = 356 GFLOP; at 0.8 of 230 GFLOP/s 1.9 s, a ratio of 3.1.
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Bench;

static class TrainStepSuite
{
    const int SamplesDefault = 5;
    const string Python = "/usr/bin/python3";

    static readonly RunConfig _run = new() { MicrobatchSize = 4, Sequence = 512, Steps = 1000, Wire = WireFormat.Float32 };

    /// <summary>Arguments: samples, then threads, then "profile" to time the operations and leave the peer out.</summary>
    public static int Run(string[] arguments)
    {
        int samples = arguments.Length > 0 ? int.Parse(arguments[0]) : SamplesDefault;
        int threads = arguments.Length > 1 ? int.Parse(arguments[1]) : Environment.ProcessorCount;
        ModelConfig model = ModelPresets.Get("30m");
        using CpuDevice cpu = new(threads);
        return arguments.Length > 2 && arguments[2] == "profile" ? Profile(model, cpu, samples) : Compare(model, cpu, samples, threads);
    }

    static int Profile(ModelConfig model, CpuDevice cpu, int samples)
    {
        TimedDevice device = new(cpu);
        using Trainer trainer = new(model, _run, device, new RandomTokens(model.Vocabulary));
        trainer.Step();
        device.Timed.Clear();
        double seconds = 0;
        for (int i = 0; i < samples; i++)
        {
            seconds += trainer.Step().Seconds;
        }

        double step = seconds / samples, flop = model.TrainingFlopPerToken(_run.Sequence) * _run.TokensPerStep;
        Console.WriteLine($"{model.Parameters} parameters, {flop / 1e9:F0} GFLOP a step, {step * 1e3:F0} ms, {flop / step / 1e9:F1} GFLOP/s, {_run.TokensPerStep / step:F0} tokens/s");
        foreach (string line in device.Timed.Table(samples, step))
        {
            Console.WriteLine(line);
        }

        return 0;
    }

    static int Compare(ModelConfig model, CpuDevice cpu, int samples, int threads)
    {
        using Process peer = StartPeer(threads);
        string? banner = peer.StandardOutput.ReadLine();
        if (banner is null)
        {
            Console.Error.WriteLine($"the peer does not start: {peer.StandardError.ReadToEnd()}\ninstall it with: apt-get install python3-torch");
            return 3;
        }

        using Trainer trainer = new(model, _run, cpu, new RandomTokens(model.Vocabulary));
        Cost[] ours = new Cost[samples], theirs = new Cost[samples];
        for (int i = -1; i < samples; i++)
        {
            Cost mine = Step(trainer), other = Ask(peer);
            if (i >= 0)
            {
                (ours[i], theirs[i]) = (mine, other);
                Console.WriteLine($"step {i + 1}: {mine.Wall:F3} s ({mine.Processor:F3} of processor), peer {other.Wall:F3} s ({other.Processor:F3})");
            }
        }

        peer.StandardInput.Close();
        peer.WaitForExit();
        Report(model, cpu, ours, theirs, banner);
        return 0;
    }

    static Cost Step(Trainer trainer)
    {
        TimeSpan before = Environment.CpuUsage.TotalTime;
        double wall = trainer.Step().Seconds;
        return new Cost(wall, (Environment.CpuUsage.TotalTime - before).TotalSeconds);
    }

    static Process StartPeer(int threads)
    {
        string script = Path.Combine(Records.Root, "perf", "peers", "torch_step.py");
        return Process.Start(new ProcessStartInfo(Python, [script, threads.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
    }

    static Cost Ask(Process peer)
    {
        peer.StandardInput.WriteLine();
        peer.StandardInput.Flush();
        string line = peer.StandardOutput.ReadLine() ?? throw new IOException($"the peer ended: {peer.StandardError.ReadToEnd()}");
        string[] seconds = line.Split(' ');
        return new Cost(double.Parse(seconds[0], CultureInfo.InvariantCulture), double.Parse(seconds[1], CultureInfo.InvariantCulture));
    }

    // processor time beside wall time: on a shared machine only their agreement makes a ratio trustworthy
    static void Report(ModelConfig model, CpuDevice cpu, Cost[] ours, Cost[] theirs, string banner)
    {
        double tokens = _run.TokensPerStep, flop = model.TrainingFlopPerToken(_run.Sequence) * tokens;
        JsonObject record = new()
        {
            ["device"] = cpu.Name,
            ["scenario"] = "train-step.30m",
            ["shape"] = "B=4 T=512 fp32",
            ["peer"] = banner,
            ["flop"] = flop,
        };
        Add(record, "time", "ratio", [.. ours.Select(cost => cost.Wall)], [.. theirs.Select(cost => cost.Wall)], out double mine, out double other);
        Add(record, "processorTime", "processorRatio", [.. ours.Select(cost => cost.Processor)], [.. theirs.Select(cost => cost.Processor)], out double myProcessor, out double otherProcessor);
        record["tokensPerSecond"] = Math.Round(tokens / mine, 1);
        record["peerTokensPerSecond"] = Math.Round(tokens / other, 1);
        Console.WriteLine($"orion {tokens / mine:F0} tokens/s, {flop / mine / 1e9:F1} GFLOP/s; {banner}: {tokens / other:F0} tokens/s, {flop / other / 1e9:F1} GFLOP/s");
        Console.WriteLine($"ratio {other / mine:F2} by the wall clock, {otherProcessor / myProcessor:F2} by processor time");
        Records.Append("train-step.jsonl", record);
    }

    static void Add(JsonObject record, string key, string ratioKey, double[] ours, double[] theirs, out double mine, out double other)
    {
        (mine, other) = (Clock.Median(ours), Clock.Median(theirs));
        record[key + "MsSamples"] = Records.Milliseconds(ours);
        record[key + "MsMedian"] = Math.Round(mine * 1e3, 1);
        record["peer" + char.ToUpperInvariant(key[0]) + key[1..] + "MsSamples"] = Records.Milliseconds(theirs);
        record["peer" + char.ToUpperInvariant(key[0]) + key[1..] + "MsMedian"] = Math.Round(other * 1e3, 1);
        record[ratioKey] = Math.Round(other / mine, 3);
    }

    /// <summary>Seconds of one step.</summary>
    readonly record struct Cost(double Wall, double Processor);

    /// <summary>Tokens without meaning: the arithmetic does not care.</summary>
    public sealed class RandomTokens(int vocabulary) : IBatchSource
    {
        public void Fill(long step, int microbatch, Span<int> inputs, Span<int> targets)
        {
            Random random = new((int)step);
            for (int i = 0; i < inputs.Length; i++)
            {
                (inputs[i], targets[i]) = (random.Next(vocabulary), random.Next(vocabulary));
            }
        }
    }
}
