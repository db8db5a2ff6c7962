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
    public void Errors_OfTheTable_AreSaidByTheSoftwareDevice()
    {
        string native = string.Concat(Directory.EnumerateFiles(Path.Combine(RealNvrtcTests.Root(), "native"), "*.cpp", SearchOption.AllDirectories).Select(File.ReadAllText));
        native = SplitText().Replace(native, "");
        string[] pieces = [.. Table("| error | means |").SelectMany(row => Quoted().Matches(row.Split('|')[1])).SelectMany(m => Numbers().Split(m.Groups[1].Value)).Select(p => p.Trim(' ', ',', '(')).Where(p => p.Length > 5)];
        Assert.InRange(pieces.Length, 15, 60);
        Assert.All(pieces, piece => Assert.Contains(piece, native, StringComparison.Ordinal));
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
    [InlineData("measure --parts bensh", 2, "there is no part 'bensh'; there are doctor check bench")]
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

    [GeneratedRegex(@"\]\(([^)#:]+)\)")]
    private static partial Regex Links();
}
