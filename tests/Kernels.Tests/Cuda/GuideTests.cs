// Follows docs/kernels.md: its example is compiled, launched, held to the oracle, broken on purpose and given to NVIDIA's compiler; the
// words and errors that it lists exist. A guide that stopped being true fails here.
using System.Diagnostics;
using System.Text.RegularExpressions;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public partial class GuideTests(SoftwareCuda cuda)
{
    static readonly string _guide = File.ReadAllText(Path.Combine(RealNvrtcTests.Root(), "docs", "kernels.md"));

    static string Example => ExampleBlock().Match(_guide).Groups[1].Value;

    [Fact]
    public void Example_LaunchedAsTheGuideSays_IsTheOracle()
    {
        const int Rows = 3, Columns = 13, Stride = 16;
        ushort[] x = Bf16.Random(new Random(1), Rows * Stride);
        using CudaModule module = new(cuda.Context, SoftwareCuda.Compiler.CompileText("twice.cu", Example, "sm_80"));
        using var source = cuda.Upload<ushort>(x);
        using var result = cuda.Upload<ushort>(new ushort[x.Length]);
        module.Kernel("twice_forward").Launch(cuda.Stream, 1, 256, 0, source.Address, result.Address, Stride, Rows, Columns);
        double[] expected = [.. x.Select((value, i) => i % Stride < Columns ? 2 * Bf16.To(value) : 0)];
        Bf16.Close(expected, Bf16.Widen(cuda.Download(result)), 0, 0, "twice");
    }

    [Fact]
    public void Example_Broken_IsAnErrorThatNamesKernelAndThread()
    {
        SoftwareCuda.SkipIfAbsent();
        CudaContext context = CudaContext.Open("softcuda:1");
        CudaStream stream = new(context);
        string broken = Example.Replace("columns - c, f);\n    for", "columns - c + 1, f);\n    for", StringComparison.Ordinal);
        Assert.NotEqual(Example, broken);
        CudaDeviceVariable<ushort> x = new(context, 13);
        x.ZeroAsync(stream);
        new CudaModule(context, SoftwareCuda.Compiler.CompileText("twice.cu", broken, "sm_80")).Kernel("twice_forward")
            .Launch(stream, 1, 256, 0, x.Address, x.Address, 13, 1, 13);
        string message = Assert.Throws<CudaException>(stream.Synchronize).Message;
        Assert.Contains("kernel twice_forward, block (0,0,0), thread (1,0,0): read of 2 bytes", message, StringComparison.Ordinal);
        Assert.Contains("0 bytes past the end of allocation", message, StringComparison.Ordinal);
        stream.Dispose();
        context.Reset();
        context.Dispose();
    }

    [Fact]
    public void Example_ByNvrtc_SpillsNothing()
    {
        if (CudaLibraries.Real.NvrtcNotSupportedReason is { } reason)
        {
            Assert.Skip(reason);
        }

        CudaRuntimeCompiler compiler = new(CudaLibraries.Real.Nvrtc, new CubinCache(Path.Combine(Path.GetTempPath(), "orion-tests-cubin")));
        KernelResources resources = Assert.Single(compiler.CompileText("twice.cu", Example, "sm_90").Resources);
        Assert.Equal(("twice_forward", 0), (resources.Kernel, resources.SpillLoadBytes + resources.SpillStoreBytes));
    }

    [Fact]
    public void Words_OfTheTable_AreInPtx()
    {
        string ptx = KernelSources.Read("ptx.cuh");
        string[] words = [.. Table("| word | is |").SelectMany(row => Quoted().Matches(row.Split('|')[1]).Select(m => Identifier().Match(m.Groups[1].Value).Value))];
        Assert.InRange(words.Length, 15, 60);
        Assert.All(words, word => Assert.Contains(word, ptx, StringComparison.Ordinal));
    }

    [Fact]
    public void Mathematics_OfTheGuide_IsOnTheSoftwareDevice()
    {
        string[] words = Mathematics().Match(_guide).Groups[1].Value.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        Assert.InRange(words.Length, 20, 60);
        string sum = string.Join(" + ", words.Select(word => $"{word}({string.Join(", ", Enumerable.Repeat("x[0]", word is "fmaf" ? 3 : word is "powf" or "fmaxf" or "fminf" ? 2 : 1))})"));
        string source = $"#include \"ptx.cuh\"\nextern \"C\" __global__ void all_forward(const float* x, float* y) {{ y[0] = {sum}; y[1] = erff(x[0]); }}\n";
        using CudaModule module = new(cuda.Context, SoftwareCuda.Compiler.CompileText("mathematics.cu", source, "sm_80"));
        using var x = cuda.Upload<float>([0.5f]);
        using var y = cuda.Upload<float>([0, 0]);
        module.Kernel("all_forward").Launch(cuda.Stream, 1, 1, 0, x.Address, y.Address);
        float[] found = cuda.Download(y);
        Assert.True(float.IsFinite(found[0]));
        Assert.Equal(0.5204998778, found[1], 1e-7);   // erf(1/2), Abramowitz and Stegun, table 7.1
    }

    [Fact]
    public void Errors_OfTheTable_AreSaidByTheSoftwareDevice()
    {
        string native = string.Concat(Directory.EnumerateFiles(Path.Combine(RealNvrtcTests.Root(), "native"), "*.cpp", SearchOption.AllDirectories).Select(File.ReadAllText));
        native = SplitText().Replace(native, "");
        string[] pieces = [.. Table("| error | means |").SelectMany(row => Quoted().Matches(row.Split('|')[1])).SelectMany(m => Numbers().Split(m.Groups[1].Value)).Select(p => p.Trim(' ', ',', '(')).Where(p => p.Length > 5)];
        Assert.InRange(pieces.Length, 15, 60);
        Assert.All(pieces, piece => Assert.Contains(piece, native, StringComparison.Ordinal));
    }

    [Fact]
    public void Hazards_SaidToBeSeen_HaveTheirTests()
    {
        string root = RealNvrtcTests.Root();
        string tests = string.Concat(Directory.EnumerateFiles(Path.Combine(root, "tests"), "*Tests.cs", SearchOption.AllDirectories).Select(File.ReadAllText));
        string[][] rows = [.. Table("| hazard | seen | by the test |").Select(row => row.Split('|'))];
        Assert.InRange(rows.Length, 20, 60);
        Assert.All(rows.SelectMany(row => Quoted().Matches(row[3])).Select(m => m.Groups[1].Value), name =>
            Assert.True(name.EndsWith(".cpp", StringComparison.Ordinal) ? File.Exists(Path.Combine(root, "native", "tests", name)) : tests.Contains($" {name}(", StringComparison.Ordinal), name));
        // a hazard that is seen without a test is a claim
        Assert.All(rows.Where(row => row[2].Trim() == "yes"), row => Assert.NotEqual("", row[3].Trim()));
    }

    [Fact]
    public void Files_ThatTheGuideNames_Exist()
    {
        string root = RealNvrtcTests.Root();
        Assert.All(Links().Matches(_guide).Select(m => m.Groups[1].Value), link => Assert.True(File.Exists(Path.GetFullPath(Path.Combine(root, "docs", link))), link));
        Assert.True(File.Exists(Path.Combine(root, "perf", "gpu", "run.sh")));
    }

    [Theory]
    [InlineData("", 0, "perf/gpu/run.sh pack")]
    [InlineData("measure --devise cuda:0", 2, "unknown option --devise; there are --device, --out, --size, --steps, --minutes, --parts, --limit")]
    [InlineData("measure --parts bensh", 2, "there is no part 'bensh'; there are doctor check check-each bench")]
    [InlineData("measure --out {0}", 3, "fix: run 'perf/gpu/run.sh pack' where the SDK is")]
    public void GpuScript_WithoutItsPackage_SaysWhatToDo(string arguments, int status, string expected)
    {
        string results = Directory.CreateTempSubdirectory("orion-gpu-").FullName;
        string script = Path.Combine(RealNvrtcTests.Root(), "perf", "gpu", "run.sh");
        using Process process = Process.Start(new ProcessStartInfo("bash", [script, .. string.Format(arguments, results).Split(' ', StringSplitOptions.RemoveEmptyEntries)])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            WorkingDirectory = results,
        })!;
        string said = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
        process.WaitForExit();
        Directory.Delete(results, recursive: true);
        Assert.Contains(expected, said, StringComparison.Ordinal);
        Assert.Equal(status, process.ExitCode);
    }

    // An engine of a few lines of shell: doctor answers, check fails, bench and training hang.
    [Fact]
    public void GpuScript_PartsThatFailAndHang_StopNoOther()
    {
        string package = Directory.CreateTempSubdirectory("orion-gpu-").FullName, engine = Path.Combine(package, "engine", "orion-engine");
        Directory.CreateDirectory(Path.Combine(package, "engine"));
        Directory.CreateDirectory(Path.Combine(package, "data"));
        File.WriteAllText(Path.Combine(package, "commit"), "unknown");
        File.Copy(Path.Combine(RealNvrtcTests.Root(), "perf", "gpu", "run.sh"), Path.Combine(package, "run.sh"));
        File.WriteAllText(engine, "#!/bin/sh\ncase \"$1 $2\" in doctor*) exit 0 ;; *check) exit 7 ;; *) echo $$ >>pids; exec sleep 1000 ;; esac\n");
        File.SetUnixFileMode(engine, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using Process process = Process.Start(new ProcessStartInfo("bash", ["run.sh", "measure", "--device", "softcuda:0", "--out", "results", "--limit", "1", "--parts", "doctor check bench train-124m"])
        {
            RedirectStandardError = true,
            WorkingDirectory = package,
        })!;
        string said = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(1, process.ExitCode);
        Assert.All(
            (string[])["passed  doctor", "FAILED check with status 7", "stopped after 1 s", "FAILED bench", "FAILED train-124m", "results.tar.gz"],
            text => Assert.Contains(text, said, StringComparison.Ordinal));
        Assert.True(File.Exists(Path.Combine(package, "results", "results.tar.gz")));
        string[] hung = File.ReadAllLines(Path.Combine(package, "pids"));
        Assert.Equal(2, hung.Length);
        Assert.All(hung, id => Assert.False(Works(id), $"process {id} of a stopped part goes on"));
        Directory.Delete(package, recursive: true);
    }

    // A card of shell scripts: check ends at its second kernel, bench is cut off after a row, and Nsight Systems has seen 1000 kernels of 8 us, 92 us
    // apart in the first half, which is the warm-up, and 2 us apart after it.
    [Fact]
    public void GpuScript_OnACard_KeepsWhatCameBeforeAFailure()
    {
        string package = Directory.CreateTempSubdirectory("orion-gpu-").FullName, tools = Path.Combine(package, "tools");
        Array.ForEach(["engine", "data", "tools"], folder => Directory.CreateDirectory(Path.Combine(package, folder)));
        File.WriteAllText(Path.Combine(package, "commit"), "unknown");
        File.WriteAllText(Path.Combine(package, "kernels"), "fine\nbroken\nhidden\n");
        File.Copy(Path.Combine(RealNvrtcTests.Root(), "perf", "gpu", "run.sh"), Path.Combine(package, "run.sh"));
        Script(Path.Combine(package, "engine", "orion-engine"), """
            echo "$*" >>calls
            case "$*" in
                "kernels check --device cuda:0 --json") echo 'ok   fine   one' >&2; echo 'FAIL broken  sticks' >&2; exit 1 ;;
                *"--kernel broken") exit 1 ;;
                "kernels bench"*) echo 'rotary    B=1 T=4: 31.5 us, 3000.0 GB/s = 75 % of copy (4000.0 GB/s), 0.2 GFLOP/s' >&2; exit 137 ;;
                train*)
                    while [ "$1" != --out ]; do shift; done
                    mkdir -p "$2"
                    for i in $(seq 30); do echo '{"step":1,"tokensPerSecond":1000,"mfu":0.5}'; done >"$2/metrics.jsonl" ;;
            esac
            """);
        Script(Path.Combine(tools, "nsys"), """
            [ "$1" = export ] || exit 0
            python3 -c '
            import sqlite3, sys
            data = sqlite3.connect(sys.argv[1])
            data.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT, \"end\" INT)")
            at = 0
            for i in range(1000):
                data.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?)", (at, at + 8000))
                at += 100000 if i < 500 else 10000
            data.commit()' "$7"
            """);
        Script(Path.Combine(tools, "compute-sanitizer"), "echo '========= ERROR SUMMARY: 3 errors' >\"$6\"; exit 9");
        Script(Path.Combine(tools, "nvidia-smi"), "echo 'A card of paper'");
        ProcessStartInfo start = new("bash", ["run.sh", "measure", "--device", "cuda:0", "--out", "results", "--limit", "20", "--parts", "check check-each bench train-124m trace sanitizer-memcheck"])
        {
            RedirectStandardError = true,
            WorkingDirectory = package,
        };
        start.Environment["PATH"] = $"{tools}:{Environment.GetEnvironmentVariable("PATH")}";
        using Process process = Process.Start(start)!;
        string said = process.StandardError.ReadToEnd();
        process.WaitForExit();
        string records = File.ReadAllText(Path.Combine(package, "results", "records.jsonl")), calls = File.ReadAllText(Path.Combine(package, "calls"));
        Directory.Delete(package, recursive: true);
        Assert.Equal(1, process.ExitCode);
        Assert.All(
            (string[])["FAILED check ", "FAILED check-each", "FAILED bench", "FAILED sanitizer-memcheck", "ERROR SUMMARY: 3 errors", "launch gaps: 19.96%", "124m: 1000 tokens/s, MFU 50.0% (goal 40%)", "passed  train-124m"],
            text => Assert.Contains(text, said, StringComparison.Ordinal));
        Assert.Contains("--kernel broken", calls, StringComparison.Ordinal);
        Assert.Contains("--kernel hidden", calls, StringComparison.Ordinal);
        Assert.DoesNotContain("--kernel fine", calls, StringComparison.Ordinal);
        Assert.Contains("\"scenario\": \"gpu.kernels.rotary\", \"shape\": \"B=1 T=4\", \"timeUsMedian\": 31.5, \"ratio\": 0.75", records, StringComparison.Ordinal);
        Assert.Contains("\"device\": \"A card of paper\"", records, StringComparison.Ordinal);
    }

    static void Script(string path, string text)
    {
        File.WriteAllText(path, "#!/usr/bin/env bash\n" + text + "\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    // A process that has ended is a zombie until process 1, its parent now, asks for its status.
    static bool Works(string process)
    {
        try
        {
            return !File.ReadAllText($"/proc/{process}/status").Contains("State:\tZ", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    static IEnumerable<string> Table(string head) => _guide[(_guide.IndexOf(head, StringComparison.Ordinal) + head.Length)..].TrimStart('\n').Split('\n').Skip(1).TakeWhile(line => line.StartsWith('|'));

    [GeneratedRegex("```cuda\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex ExampleBlock();

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex Quoted();

    [GeneratedRegex(@"\w+")]
    private static partial Regex Identifier();

    // what the device fills in, and the words beside it
    [GeneratedRegex(@"\d+|…|:|here|bytes|allocation|by thread")]
    private static partial Regex Numbers();

    // a text that goes over several lines of C++
    [GeneratedRegex("\"\\s*\n\\s*\"")]
    private static partial Regex SplitText();

    [GeneratedRegex(@"Mathematics in fp32: `([^`]+)`")]
    private static partial Regex Mathematics();

    [GeneratedRegex(@"\]\(([^)#:]+)\)")]
    private static partial Regex Links();
}
