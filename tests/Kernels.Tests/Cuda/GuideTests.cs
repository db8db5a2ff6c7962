// Follows docs/kernels.md: its example is compiled, launched, held to the oracle, broken on purpose and given to NVIDIA's compiler; the
// words and errors that it lists exist. A guide that stopped being true fails here.
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
    public void Head_OfEverySource_SaysBytesFlopsAndWhatBoundsThem() => Assert.All(KernelSources.Names, name =>
    {
        string head = string.Join('\n', KernelSources.Read(name).Split('\n').TakeWhile(line => line.StartsWith("//", StringComparison.Ordinal)));
        Assert.All((string[])["bytes", "// Traffic", "// Math", "// Goal", "bound", "// Launch"], word => Assert.Contains(word, head.Replace("// Tiles", "// Launch", StringComparison.Ordinal), StringComparison.Ordinal));
        Assert.Matches("FLOP|operations|addition", head);
    });

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
