// kernels list / check / bench: for whoever writes CUDA kernels. `list` compiles for named architectures and needs no GPU,
// `check` compares with the oracle on any device, `bench` times against the device's own copy bandwidth.
using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using OrionNative.Engine.Run;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Cli;

static partial class KernelsCommand
{
    const int Samples = 7;

    // Launches between two events on a card, so that the microseconds in which the first of them reaches it do not count, nor in PyTorch's rows
    // beside these (perf/gpu/torch_side.py). The software device launches at once and takes seconds.
    const int LaunchesPerSample = 20;

    public static Command Create()
    {
        ExampleCommand command = new("kernels", "Compile, check and time the CUDA kernels.", "kernels list", "kernels check --device softcuda:0", "kernels bench --device cuda:0");
        command.Add(List());
        command.Add(Check());
        command.Add(Bench());
        return command;
    }

    static ExampleCommand List()
    {
        ExampleCommand command = new("list", "Registers, shared memory and spills of every kernel, by NVRTC; needs no GPU.", "kernels list", "kernels list --arch sm_90");
        Option<string[]> architectures = new("--arch")
        {
            Description = "architectures to compile for",
            DefaultValueFactory = _ => RegisterTable.Architectures,
            AllowMultipleArgumentsPerToken = true,
        };
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(architectures);
        command.Add(json);
        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            string[] chosen = [.. parsed.GetValue(architectures)!];
            if (chosen.FirstOrDefault(name => !ArchitectureName().IsMatch(name)) is { } wrong)
            {
                throw new ConfigurationException($"'{wrong}' is no architecture; write sm_80, sm_90 or sm_90a");
            }

            CudaRuntimeCompiler compiler = new(CudaLibraries.Real.Nvrtc, CubinCache.Default());
            output.Text.WriteLine($"NVRTC {CudaLibraries.Real.Nvrtc.Version}; registers of a thread, +N: N bytes of spills");
            output.Text.WriteLine($"{"kernel",-30} {"source",-22} {string.Join(' ', chosen.Select(name => $"{name,8}"))} {"shared bytes",13}");
            JsonArray kernels = [];
            int spilling = 0;
            foreach (string source in KernelSources.Names)
            {
                KernelResources[][] all = [.. chosen.Select(name => compiler.Compile(source, name).Resources.OrderBy(r => r.Kernel, StringComparer.Ordinal).ToArray())];
                for (int i = 0; i < all[0].Length; i++)
                {
                    KernelResources[] row = Array.ConvertAll(all, resources => resources[i]);
                    output.Text.WriteLine($"{row[0].Kernel,-30} {source,-22} {string.Join(' ', row.Select(r => $"{RegisterTable.Figure(r),8}"))} {row[0].StaticSharedBytes,13}");
                    foreach ((KernelResources r, string architecture) in row.Zip(chosen))
                    {
                        int spills = r.SpillLoadBytes + r.SpillStoreBytes;
                        spilling += spills > 0 ? 1 : 0;
                        kernels.Add(new JsonObject
                        {
                            ["architecture"] = architecture,
                            ["kernel"] = r.Kernel,
                            ["source"] = source,
                            ["registers"] = r.Registers,
                            ["staticSharedBytes"] = r.StaticSharedBytes,
                            ["spillBytes"] = spills,
                        });
                    }
                }
            }

            output.Text.WriteLine($"{kernels.Count / chosen.Length} kernels, {(spilling == 0 ? "none spills" : $"{spilling} spill")}");
            output.Result(new JsonObject { ["nvrtc"] = CudaLibraries.Real.Nvrtc.Version.ToString(), ["kernels"] = kernels });
            return spilling == 0 ? ExitStatus.Done : ExitStatus.Failed;
        });
        return command;
    }

    [GeneratedRegex("^sm_[0-9]{2,3}[af]?$")]
    private static partial Regex ArchitectureName();

    static ExampleCommand Check()
    {
        ExampleCommand command = new("check", "Compare kernels with the double-precision oracle.", "kernels check --device softcuda:0", "kernels check --device cuda:0 --kernel rotary");
        (Option<string> device, Option<string?> kernel, Option<bool> json) = Options(command);
        command.SetAction(parsed => OnDevice(parsed.GetValue(device)!, parsed.GetValue(kernel), new CommandOutput(parsed.GetValue(json)), size: 0, (made, name, output) =>
        {
            made.Launch();
            made.Stream.Synchronize();
            JsonObject row = new() { ["kernel"] = name, ["shape"] = made.Shape };
            bool right = true;
            string figures = "";
            foreach (KernelResult result in made.Results())
            {
                double worst = result.WorstRatio();
                right &= worst <= 1;
                figures += string.Create(CultureInfo.InvariantCulture, $"{(figures.Length > 0 ? ", " : "")}{result.Name} {worst:P0}");
                row[result.Name] = double.IsFinite(worst) ? worst : null;
            }

            output.Text.WriteLine($"{(right ? "ok  " : "FAIL")} {name,-26} {made.Shape}: error of what its tolerance allows: {figures}");
            row["ok"] = right;
            return (row, right);
        }));
        return command;
    }

    static ExampleCommand Bench()
    {
        ExampleCommand command = new("bench", "Time kernels against the device's own copy bandwidth.", "kernels bench --device cuda:0");
        (Option<string> device, Option<string?> kernel, Option<bool> json) = Options(command);
        Option<int> size = new Option<int>("--size") { Description = "scale of the shapes", DefaultValueFactory = _ => 1024 }.Between(1, 1 << 20);
        command.Add(size);
        command.SetAction(parsed =>
        {
            double copy = 0;
            return OnDevice(parsed.GetValue(device)!, parsed.GetValue(kernel), new CommandOutput(parsed.GetValue(json)), parsed.GetValue(size), (made, name, output) =>
            {
                copy = copy > 0 ? copy : CopyBytesPerSecond(made);
                double[] seconds = Time(made, made.Launch);
                double median = seconds[Samples / 2], bandwidth = made.Bytes / median;
                output.Text.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{name,-24} {made.Shape}: {median * 1e6:F1} us, {bandwidth / 1e9:F1} GB/s = {bandwidth / copy:P0} of copy ({copy / 1e9:F1} GB/s)")
                    + (made.Flops > 0 ? string.Create(CultureInfo.InvariantCulture, $", {made.Flops / median / 1e9:F1} GFLOP/s") : ""));
                return (new JsonObject
                {
                    ["kernel"] = name,
                    ["shape"] = made.Shape,
                    ["bytes"] = made.Bytes,
                    ["flops"] = made.Flops,
                    ["timeUsSamples"] = new JsonArray([.. seconds.Select(s => (JsonNode)(s * 1e6))]),
                    ["timeUsMedian"] = median * 1e6,
                    ["copyBytesPerSecond"] = copy,
                    ["ratio"] = bandwidth / copy,
                }, true);
            });
        });
        return command;
    }

    static (Option<string> Device, Option<string?> Kernel, Option<bool> Json) Options(Command command)
    {
        Option<string> device = new("--device") { Description = "cuda:N or softcuda:N", DefaultValueFactory = _ => "cuda:0" };
        Option<string?> kernel = new("--kernel") { Description = "only this one" };
        Option<bool> json = CommandOutput.JsonOption();
        command.Add(device);
        command.Add(kernel);
        command.Add(json);
        return (device, kernel, json);
    }

    static int OnDevice(string selector, string? only, CommandOutput output, int size, Func<KernelCase, string, CommandOutput, (JsonObject Row, bool Right)> run)
    {
        if (only is not null && !KernelCases.Names.Contains(only))
        {
            throw new ConfigurationException($"there is no kernel '{only}'{NearestName.Hint(only, [.. KernelCases.Names])}; `orion-engine kernels list` names them all");
        }

        try
        {
            using CudaContext context = CudaContext.Open(selector);
            output.Text.WriteLine($"{context.Selector}: {context.DeviceName}" + (context.Libraries.IsSoftware ? ", which is no GPU: times say nothing about a card" : ""));
            CudaStream stream = new(context);
            CudaRuntimeCompiler compiler = new(context.Libraries.Nvrtc, CubinCache.Default());
            Dictionary<string, CudaModule> modules = [];   // loaded once: under compute-sanitizer a load takes longer than its kernels
            JsonArray rows = [];
            bool right = true, works = true;
            foreach (string name in KernelCases.Names.Where(n => only is null || n == only))
            {
                for (int variant = 0, variants = 1; works && variant < variants; variant++)
                {
                    try
                    {
                        using KernelCase made = KernelCases.Make(name, variant, size, context, compiler, stream, modules);
                        (JsonObject row, bool ok) = run(made, name, output);
                        rows.Add(row);
                        right &= ok;
                        variants = size > 0 ? 1 : made.Variants;
                    }
                    catch (Exception error) when (error is CudaException or KernelCompilationException)
                    {
                        right = false;
                        works = StillWorks(stream);
                        output.Text.WriteLine($"FAIL {name,-26} {error.Message}" + (works ? "" : "; the device runs nothing after it in this process: what follows needs another"));
                        rows.Add(new JsonObject { ["kernel"] = name, ["variant"] = variant, ["error"] = error.Message, ["ok"] = false });
                    }
                }
            }

            int kernelCount = rows.Select(row => (string)row!["kernel"]!).Distinct().Count();
            output.Text.WriteLine($"{kernelCount} kernel{(kernelCount == 1 ? "" : "s")}, {rows.Count} shape{(rows.Count == 1 ? "" : "s")}{(right ? size > 0 ? "" : ": all within their tolerances" : ": some are NOT within their tolerances, or did not run")}");
            output.Result(new JsonObject { ["device"] = context.Selector, ["name"] = context.DeviceName, ["software"] = context.Libraries.IsSoftware, ["ok"] = right, ["kernels"] = rows });
            End(context, stream, modules.Values, works);
            return right ? ExitStatus.Done : ExitStatus.Failed;
        }
        catch (ArgumentException error)
        {
            throw new ConfigurationException(error.Message);
        }
        catch (CudaException error) when (error.Call == "cuDeviceGet")
        {
            throw new ConfigurationException($"device '{selector}' is not on this machine: {error.Message}; `orion-engine doctor` lists the devices");
        }
        catch (PlatformNotSupportedException error)
        {
            throw new PlatformNotSupportedException(error.Message + (selector.StartsWith("cuda", StringComparison.Ordinal) ? "; without a card: --device softcuda:0" : ""), error);
        }
    }

    /// <summary>False when an error sticks to the context, as those of a running kernel do.</summary>
    static bool StillWorks(CudaStream stream)
    {
        try
        {
            stream.Synchronize();
            return true;
        }
        catch (CudaException)
        {
            return false;
        }
    }

    /// <summary>Ends the stream, or everything at once where an error sticks: its objects cannot be given back one by one.</summary>
    static void End(CudaContext context, CudaStream stream, IEnumerable<CudaModule> modules, bool works)
    {
        if (works)
        {
            foreach (CudaModule module in modules)
            {
                module.Dispose();
            }

            stream.Dispose();
        }
        else
        {
            context.Reset();
        }
    }

    /// <summary>Sorted seconds of a launch on the device's own clock, after two launches to warm up.</summary>
    static double[] Time(KernelCase made, Action launch)
    {
        using CudaEvent start = new(made.Stream.Context, timing: true), end = new(made.Stream.Context, timing: true);
        double[] seconds = new double[Samples];
        int launches = made.Stream.Context.Libraries.IsSoftware ? 1 : LaunchesPerSample;
        launch();
        launch();
        for (int i = 0; i < Samples; i++)
        {
            start.Record(made.Stream);
            for (int j = 0; j < launches; j++)
            {
                launch();
            }

            end.Record(made.Stream);
            end.Synchronize();
            seconds[i] = end.MillisecondsSince(start) / 1e3 / launches;
        }

        Array.Sort(seconds);
        return seconds;
    }

    static double CopyBytesPerSecond(KernelCase made)
    {
        const int Bytes = 256 << 20;
        using CudaDeviceVariable<byte> from = new(made.Stream.Context, Bytes), to = new(made.Stream.Context, Bytes);
        byte[] random = new byte[Bytes];
        new Random(1).NextBytes(random);
        from.CopyFrom(random);
        return 2.0 * Bytes / Time(made, () => to.CopyFromAsync(from, made.Stream))[Samples / 2];
    }
}
