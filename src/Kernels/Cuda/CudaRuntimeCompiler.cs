// CUDA C++ to a cubin through NVRTC, once per machine: the result is kept on disk under a key of everything that matters.
//   key = SHA-256(format | NVRTC or prelude and g++ | architecture | options | ptx.cuh | source)
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>What ptxas says about one kernel.</summary>
readonly record struct KernelResources(string Kernel, int Registers, int SpillStoreBytes, int SpillLoadBytes, int StaticSharedBytes);

/// <summary>A cubin, with the compiler's log.</summary>
sealed record CompiledKernels(string Name, string Architecture, byte[] Image, string Log)
{
    /// <summary>One entry per kernel; empty on the software device, which has no registers.</summary>
    public IReadOnlyList<KernelResources> Resources => PtxasLog.Parse(Log);
}

/// <summary>A source that does not compile; the message is the compiler's, with file and line.</summary>
sealed class KernelCompilationException(string message) : Exception(message);

/// <param name="nvrtc">The compiler.</param>
/// <param name="cache">Where cubins are kept.</param>
/// <param name="sources">Gives the text behind a name; those embedded here when null.</param>
/// <param name="options">Options of every compilation besides the usual ones.</param>
sealed unsafe class CudaRuntimeCompiler(Nvrtc nvrtc, CubinCache? cache, Func<string, string>? sources = null, string[]? options = null)
{
    const string CacheFormat = "orion cubin 1";
    const string SharedHeader = "ptx.cuh";
    static readonly string[] _options = ["--std=c++17", "--ptxas-options=-v", "--extra-device-vectorization"];

    // NVRTC 11.8 ends the process when it makes line information of attention.cu for sm_90; 12 and later make it everywhere.
    static readonly Version _lineInformationFrom = new(12, 0);

    /// <summary>Compiles an embedded source, such as "rmsnorm.cu", for "sm_80".</summary>
    public CompiledKernels Compile(string name, string architecture, params ReadOnlySpan<string> definitions) =>
        CompileText(name, Read(name), architecture, definitions);

    /// <summary>Compiles a text under a name that errors will show.</summary>
    /// <exception cref="KernelCompilationException">The text does not compile.</exception>
    public CompiledKernels CompileText(string name, string source, string architecture, params ReadOnlySpan<string> definitions)
    {
        string header = Read(SharedHeader);
        string[] lines = nvrtc.Version >= _lineInformationFrom ? ["-lineinfo"] : [];
        string[] all = [$"--gpu-architecture={architecture}", .. _options, .. lines, .. options ?? [], .. definitions];
        string key = Key([CacheFormat, nvrtc.Fingerprint, .. all, header, name, source]);
        if (cache is not null && cache.TryRead(key, out byte[] image, out string log))
        {
            return new CompiledKernels(name, architecture, image, log);
        }

        CompiledKernels compiled = Run(name, source, header, architecture, all);
        cache?.Write(key, compiled.Image, compiled.Log);
        return compiled;
    }

    string Read(string name) => (sources ?? KernelSources.Read)(name);

    static string Key(ReadOnlySpan<string> parts)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string part in parts)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(part);
            hash.AppendData(BitConverter.GetBytes((long)bytes.Length));
            hash.AppendData(bytes);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    CompiledKernels Run(string name, string source, string header, string architecture, string[] all)
    {
        using NativeStrings texts = new([source, name, header, SharedHeader, .. all]);
        nint program;
        nvrtc.Check(nvrtc.nvrtcCreateProgram(&program, texts[0], texts[1], 1, texts.From(2), texts.From(3)), "nvrtcCreateProgram", name);
        try
        {
            int status = nvrtc.nvrtcCompileProgram(program, all.Length, texts.From(4));
            string log = Log(program);
            if (status != 0)
            {
                throw new KernelCompilationException($"{name} does not compile for {architecture}: {nvrtc.NameOf(status)}\n{log}");
            }

            nuint bytes;
            nvrtc.Check(nvrtc.nvrtcGetCUBINSize(program, &bytes), "nvrtcGetCUBINSize", name);
            byte[] image = new byte[bytes];
            fixed (byte* to = image)
            {
                nvrtc.Check(nvrtc.nvrtcGetCUBIN(program, to), "nvrtcGetCUBIN", name);
            }

            return new CompiledKernels(name, architecture, image, log);
        }
        finally
        {
            nvrtc.Check(nvrtc.nvrtcDestroyProgram(&program), "nvrtcDestroyProgram");
        }
    }

    string Log(nint program)
    {
        nuint bytes;
        nvrtc.Check(nvrtc.nvrtcGetProgramLogSize(program, &bytes), "nvrtcGetProgramLogSize");
        byte[] text = new byte[bytes];
        fixed (byte* to = text)
        {
            nvrtc.Check(nvrtc.nvrtcGetProgramLog(program, to), "nvrtcGetProgramLog");
        }

        return Encoding.UTF8.GetString(text).TrimEnd('\0', '\n');
    }

    /// <summary>Zero-ended UTF-8 copies of strings, alive until disposed.</summary>
    sealed class NativeStrings : IDisposable
    {
        readonly byte** _pointers;
        readonly int _count;

        public NativeStrings(string[] texts)
        {
            _count = texts.Length;
            _pointers = (byte**)NativeMemory.Alloc((nuint)texts.Length, (nuint)sizeof(byte*));
            for (int i = 0; i < texts.Length; i++)
            {
                _pointers[i] = (byte*)Marshal.StringToCoTaskMemUTF8(texts[i]);
            }
        }

        public byte* this[int index] => _pointers[index];

        public byte** From(int index) => _pointers + index;

        public void Dispose()
        {
            for (int i = 0; i < _count; i++)
            {
                Marshal.FreeCoTaskMem((nint)_pointers[i]);
            }

            NativeMemory.Free(_pointers);
        }
    }
}

/// <summary>The .cu and .cuh files that are embedded in this assembly.</summary>
static class KernelSources
{
    /// <summary>Every .cu file, sorted.</summary>
    public static string[] Names =>
        [.. typeof(KernelSources).Assembly.GetManifestResourceNames().Where(n => n.EndsWith(".cu", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];

    public static string Read(string name)
    {
        using Stream stream = typeof(KernelSources).Assembly.GetManifestResourceStream(name)
            ?? throw new ArgumentException($"no kernel source {name}; there are {string.Join(", ", Names)}");
        using StreamReader reader = new(stream);
        return reader.ReadToEnd();
    }
}

/// <summary>Reads the lines that --ptxas-options=-v prints.</summary>
static partial class PtxasLog
{
    public static IReadOnlyList<KernelResources> Parse(string log)
    {
        List<KernelResources> found = [];
        string kernel = "";
        (int stores, int loads) = (0, 0);
        foreach (string line in log.Split('\n'))
        {
            if (EntryLine().Match(line) is { Success: true } entry)
            {
                kernel = entry.Groups[1].Value;
            }
            else if (SpillLine().Match(line) is { Success: true } spill)
            {
                (stores, loads) = (int.Parse(spill.Groups[1].ValueSpan), int.Parse(spill.Groups[2].ValueSpan));
            }
            else if (UsedLine().Match(line) is { Success: true } used)
            {
                Match shared = SharedPart().Match(line);
                int sharedBytes = shared.Success ? int.Parse(shared.Groups[1].ValueSpan) : 0;
                found.Add(new KernelResources(kernel, int.Parse(used.Groups[1].ValueSpan), stores, loads, sharedBytes));
            }
        }

        return found;
    }

    [GeneratedRegex(@"Compiling entry function '(\w+)'")]
    private static partial Regex EntryLine();

    [GeneratedRegex(@"(\d+) bytes spill stores, (\d+) bytes spill loads")]
    private static partial Regex SpillLine();

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex UsedLine();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex SharedPart();
}
