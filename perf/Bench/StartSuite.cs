// What a run costs before it learns: the time from the start of the process to the end of its first training step, preset
// tiny on text that is not prepared yet (target 2 s), and the memory that training takes beside the printed plan (target: within a tenth).
using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Model;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Bench;

static class StartSuite
{
    const int Samples = 7;

    /// <summary>Arguments: a text.</summary>
    public static int Run(string[] arguments)
    {
        if (arguments.Length == 0)
        {
            throw new FormatException("give a text to train on");
        }

        double[] seconds = [.. Enumerable.Range(0, Samples).Select(_ => SecondsToFirstStep(arguments[0]))];
        Console.WriteLine($"first step after {string.Join(", ", seconds.Select(s => s.ToString("F2", CultureInfo.InvariantCulture)))} s, median {Clock.Median(seconds):F2} s");
        Records.Append("engine.jsonl", new JsonObject
        {
            ["device"] = "cpu",
            ["scenario"] = "start.tiny",
            ["shape"] = $"process start to first training step, {new FileInfo(arguments[0]).Length} bytes of text",
            ["timeMsSamples"] = Records.Milliseconds(seconds),
            ["timeMsMedian"] = Math.Round(Clock.Median(seconds) * 1e3, 1),
        });
        Memory("tiny", new RunConfig { MicrobatchSize = 8, Sequence = 256, Steps = 10 });
        Memory("30m", new RunConfig { MicrobatchSize = 4, Sequence = 512, Steps = 10 });
        return 0;
    }

    static double SecondsToFirstStep(string text)
    {
        string folder = Directory.CreateTempSubdirectory("orion-start-").FullName, copy = Path.Combine(folder, "text.txt");
        File.Copy(text, copy);
        string engine = Path.Combine(Records.Root, "src", "Engine", "bin", "Release", "net10.0", "orion-engine.dll");
        long began = Stopwatch.GetTimestamp();
        using Process process = Process.Start(new ProcessStartInfo("dotnet", [engine, "train", "--data", copy, "--steps", "1", "--out", Path.Combine(folder, "run")])
        {
            RedirectStandardOutput = true,
            WorkingDirectory = folder,
        })!;
        while (process.StandardOutput.ReadLine() is { } line)
        {
            if (line.StartsWith("step ", StringComparison.Ordinal))
            {
                double seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
                process.StandardOutput.ReadToEnd();
                process.WaitForExit();
                Directory.Delete(folder, recursive: true);
                return seconds;
            }
        }

        process.WaitForExit();
        throw new IOException($"orion-engine train on {text} ended with status {process.ExitCode} before its first step");
    }

    static void Memory(string preset, RunConfig run)
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        ModelConfig model = ModelPresets.Get(preset);
        using CpuDevice device = new();
        MemoryPlan plan = Trainer.Plan(model, run, device);
        GC.Collect();
        File.WriteAllText("/proc/self/clear_refs", "5");
        long before = Status("VmRSS:");
        using (Trainer trainer = new(model, run, device, new TrainStepSuite.RandomTokens(model.Vocabulary)))
        {
            trainer.Step();
            trainer.Step();
        }

        long used = Status("VmHWM:") - before;
        Console.WriteLine($"{preset}: planned {plan.Total / 1e6:F1} MB, used {used / 1e6:F1} MB, ratio {(double)plan.Total / used:F3}");
        Records.Append("engine.jsonl", new JsonObject
        {
            ["device"] = device.Name,
            ["scenario"] = $"memory.{preset}",
            ["shape"] = $"B={run.MicrobatchSize} T={run.Sequence} fp32, growth of the resident set at its peak",
            ["plannedBytes"] = plan.Total,
            ["usedBytes"] = used,
            ["ratio"] = Math.Round((double)plan.Total / used, 3),
        });
    }

    static long Status(string key)
    {
        string line = File.ReadLines("/proc/self/status").First(candidate => candidate.StartsWith(key, StringComparison.Ordinal));
        return 1024 * long.Parse(line[key.Length..^3], CultureInfo.InvariantCulture);
    }
}
