// The runtime compiler and its cache: errors with file and line, keys, damaged files, many writers; and the log of ptxas.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

public sealed class CompilerTests : IDisposable
{
    const string Good = "#include \"ptx.cuh\"\n#ifndef N\n#define N 1\n#endif\nextern \"C\" __global__ void fill(float* x) { x[threadIdx.x] = N; }\n";
    readonly string _folder = Directory.CreateTempSubdirectory("orion-cubin").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    CudaRuntimeCompiler Compiler()
    {
        SoftwareCuda.SkipIfAbsent();
        return new CudaRuntimeCompiler(CudaLibraries.Software.Nvrtc, new CubinCache(_folder));
    }

    // g++ writes file:line, NVRTC file(line).
    [Theory]
    [InlineData(true, "broken.cu:3:")]
    [InlineData(false, "broken.cu(3): error")]
    public void SyntaxError_Message_HasFileAndLine(bool software, string place)
    {
        CudaLibraries libraries = software ? CudaLibraries.Software : CudaLibraries.Real;
        if (libraries.NvrtcNotSupportedReason is { } reason)
        {
            Assert.Skip(reason);
        }

        KernelCompilationException error = Assert.Throws<KernelCompilationException>(() => new CudaRuntimeCompiler(libraries.Nvrtc, new CubinCache(_folder))
            .CompileText("broken.cu", "#include \"ptx.cuh\"\n\nextern \"C\" __global__ void f() { undeclared = 1; }\n", "sm_80"));
        Assert.Contains(place, error.Message, StringComparison.Ordinal);
        Assert.Contains("undeclared", error.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_folder));
    }

    [Fact]
    public void UnknownOption_IsRefused() =>
        Assert.Contains("--fastest", Assert.Throws<KernelCompilationException>(() => Compiler().CompileText("a.cu", Good, "sm_80", "--fastest")).Message, StringComparison.Ordinal);

    [Fact]
    public void SecondCompilation_IsReadFromDisk()
    {
        byte[] image = Compiler().CompileText("a.cu", Good, "sm_80").Image;
        string file = Assert.Single(Directory.GetFiles(_folder));
        DateTime written = File.GetLastWriteTimeUtc(file);
        Assert.Equal(image, Compiler().CompileText("a.cu", Good, "sm_80").Image);
        Assert.Equal(written, File.GetLastWriteTimeUtc(file));
    }

    [Fact]
    public void SourceOptionArchitectureOrName_Changed_HasItsOwnFile()
    {
        Compiler().CompileText("a.cu", Good, "sm_80");
        Compiler().CompileText("a.cu", Good + "\n", "sm_80");
        Compiler().CompileText("a.cu", Good, "sm_90");
        Compiler().CompileText("a.cu", Good, "sm_80", "-DN=2");
        Compiler().CompileText("b.cu", Good, "sm_80");
        Assert.Equal(5, Directory.GetFiles(_folder, "*.cubin").Length);
    }

    [Fact]
    public void SharedHeaderOrCompiler_Changed_HasItsOwnFile()
    {
        Compiler().CompileText("a.cu", Good, "sm_80");
        new CudaRuntimeCompiler(CudaLibraries.Software.Nvrtc, new CubinCache(_folder), name => KernelSources.Read(name) + "\n").CompileText("a.cu", Good, "sm_80");
        Assert.Equal(2, Directory.GetFiles(_folder, "*.cubin").Length);
        if (CudaLibraries.Real.NvrtcNotSupportedReason is null)
        {
            new CudaRuntimeCompiler(CudaLibraries.Real.Nvrtc, new CubinCache(_folder)).CompileText("a.cu", Good, "sm_80");
            Assert.Equal(3, Directory.GetFiles(_folder, "*.cubin").Length);
        }
    }

    [Fact]
    public void DamagedFile_IsCompiledAgain()
    {
        byte[] image = Compiler().CompileText("a.cu", Good, "sm_80").Image;
        string file = Assert.Single(Directory.GetFiles(_folder));
        byte[] bytes = File.ReadAllBytes(file);
        foreach (byte[] damaged in new[] { bytes[..10], bytes[..^1], [.. bytes[..100], (byte)(bytes[100] ^ 1), .. bytes[101..]] })
        {
            File.WriteAllBytes(file, damaged);
            Assert.Equal(image.Length, Compiler().CompileText("a.cu", Good, "sm_80").Image.Length);
            Assert.Equal(bytes.Length, new FileInfo(file).Length);
        }
    }

    [Fact]
    public void Folder_ThatCannotBeWritten_IsNamedWithTheFix()
    {
        string file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        CubinCache cache = new(Path.Combine(file, "cubin"));
        Assert.False(cache.TryRead("key", out _, out _));
        string message = Assert.ThrowsAny<IOException>(() => cache.Write("key", [1], "")).Message;
        Assert.Contains(file, message, StringComparison.Ordinal);
        Assert.Contains("fix: let ORION_CUBIN_CACHE name", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ManyWriters_OneKey_LeaveOneWholeFile()
    {
        CubinCache cache = new(_folder);
        byte[] image = [.. Enumerable.Range(0, 100_000).Select(i => (byte)i)];
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(() => cache.Write("key", image, "log"), TestContext.Current.CancellationToken)));
        Assert.True(cache.TryRead("key", out byte[] read, out string log));
        Assert.Equal(image, read);
        Assert.Equal("log", log);
        Assert.Single(Directory.GetFiles(_folder));
    }

    // Lines as ptxas 11.8 and 12.4 print them.
    [Fact]
    public void PtxasLog_OfTwoKernels_GivesRegistersAndSpills()
    {
        const string Log = """
            ptxas info    : 0 bytes gmem
            ptxas info    : Compiling entry function 'first' for 'sm_80'
            ptxas info    : Function properties for first
            ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
            ptxas info    : Used 32 registers, 128 bytes smem, 400 bytes cmem[0]
            ptxas info    : Compiling entry function 'second' for 'sm_80'
            ptxas         .     8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
            ptxas info    : Used 255 registers
            """;
        Assert.Equal([new("first", 32, 0, 0, 128), new("second", 255, 12, 16, 0)], PtxasLog.Parse(Log));
    }
}
