// The bindings against NVIDIA's own headers: every constant, every structure, every entry point's parameters.
// tests/golden/cuda-headers.txt has a line for each: our name, the header's expression, what a C++ compiler says it is, and the CUDA that
// brought it where 11.8 lacks it. A signature is its result and parameters by kind (i integer, enumeration or pointer; f floating) and bytes.
// Where CUDA's headers are (CUDA_PATH, /usr/local/cuda, /usr) the table itself is checked by compiling it; ORION_REWRITE=headers writes it.
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Tests.Cuda;

public class HeaderTests
{
    static readonly Type[] _bindings = [typeof(CudaDriver), typeof(Nvrtc), typeof(CublasLtLibrary)];

    static readonly string _table = Path.Combine(RealNvrtcTests.Root(), "tests", "golden", "cuda-headers.txt");

    [Fact]
    public void EveryConstantStructureAndCall_IsTheHeaders()
    {
        Dictionary<string, string> expected = Read().ToDictionary(row => row.Ours, row => row.Value, StringComparer.Ordinal);
        Dictionary<string, string> actual = Ours();
        Assert.True(actual.Count > 100, $"{actual.Count} names found by reflection");
        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), actual.Keys.Order(StringComparer.Ordinal));
        Assert.All(actual, pair => Assert.Equal((pair.Key, expected[pair.Key]), (pair.Key, pair.Value)));
    }

    [Fact]
    public void Table_IsWhatTheHeadersSay()
    {
        string? include = Includes().FirstOrDefault(folder => File.Exists(Path.Combine(folder, "cublasLt.h")) && File.Exists(Path.Combine(folder, "nvrtc.h")));
        if (include is null)
        {
            Assert.Skip($"CUDA's headers are in none of {string.Join(", ", Includes())}; fix: unpack Debian's nvidia-cuda-dev (non-free) with dpkg -x and set CUDA_PATH to its usr");
        }

        Row[] rows = Read();
        string[] values = Compile(include, rows);
        if (Environment.GetEnvironmentVariable("ORION_REWRITE") == "headers")
        {
            IEnumerable<string> comments = File.ReadLines(_table).TakeWhile(line => line.StartsWith('#'));
            File.WriteAllLines(_table, [.. comments, .. rows.Zip(values, (row, value) => string.Join(" | ", (string[])[row.Ours, row.Header, value.Length > 0 ? value : row.Value, .. row.Since is null ? (string[])[] : [row.Since]]))]);
        }

        Assert.All(rows.Zip(values), pair => Assert.True(pair.Second.Length == 0 || pair.Second == pair.First.Value, $"{pair.First} is {pair.Second} in {include}"));
        Assert.True(values.Count(value => value.Length > 0) >= rows.Length - rows.Count(row => row.Since is not null));
    }

    static IEnumerable<string> Includes() =>
        new[] { Environment.GetEnvironmentVariable("CUDA_PATH"), Environment.GetEnvironmentVariable("CUDA_HOME"), "/usr/local/cuda", "/usr" }
            .Where(root => !string.IsNullOrEmpty(root)).Select(root => Path.Combine(root!, "include"));

    static Row[] Read() =>
        [.. File.ReadLines(_table).Where(line => line.Length > 0 && line[0] != '#').Select(line => line.Split(" | ")).Select(cells => new Row(cells[0], cells[1], cells[2], cells.ElementAtOrDefault(3)))];

    /// <summary>Everything in the bindings that a header decides, as the table writes it.</summary>
    static Dictionary<string, string> Ours()
    {
        Dictionary<string, string> found = new(StringComparer.Ordinal);
        foreach (Type type in _bindings)
        {
            foreach (FieldInfo field in type.GetFields(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static))
            {
                if (field.IsLiteral)
                {
                    found.Add($"{type.Name}.{field.Name}", Convert.ToString(field.GetRawConstantValue(), CultureInfo.InvariantCulture)!);
                }
                else if (field.FieldType.IsUnmanagedFunctionPointer && !field.Name.StartsWith("soft", StringComparison.Ordinal))
                {
                    string parameters = string.Join(' ', field.FieldType.GetFunctionPointerParameterTypes().Select(Kind));
                    found.Add($"{type.Name}.{field.Name}", $"{Kind(field.FieldType.GetFunctionPointerReturnType())}({parameters})");
                }
            }
        }

        found.Add(nameof(CublasLtAlgorithm), Marshal.SizeOf<CublasLtAlgorithm>().ToString(CultureInfo.InvariantCulture));
        found.Add(nameof(CublasLtHeuristic), Marshal.SizeOf<CublasLtHeuristic>().ToString(CultureInfo.InvariantCulture));
        foreach (FieldInfo field in typeof(CublasLtHeuristic).GetFields())
        {
            found.Add($"{nameof(CublasLtHeuristic)}.{field.Name}", Marshal.OffsetOf<CublasLtHeuristic>(field.Name).ToString(CultureInfo.InvariantCulture));
        }

        return found;
    }

    static string Kind(Type type) =>
        type == typeof(void) ? "v"
        : type == typeof(float) ? "f4"
        : type == typeof(byte) ? "i1"
        : type == typeof(int) || type == typeof(uint) ? "i4"
        : type.IsPointer || type.IsFunctionPointer || type == typeof(nint) || type == typeof(nuint) || type == typeof(ulong) || type == typeof(long) ? "i8"
        : throw new InvalidOperationException($"{type} is not a type of the bindings");

    /// <summary>What the headers say of every row; empty where they are older than the row.</summary>
    static string[] Compile(string include, Row[] rows)
    {
        string folder = Directory.CreateTempSubdirectory("orion-headers-").FullName;
        try
        {
            string source = Path.Combine(folder, "headers.cpp"), program = Path.Combine(folder, "headers");
            File.WriteAllText(source, """
                #include <cstddef>
                #include <iostream>
                #include <string>
                #include <type_traits>
                #include <cuda.h>
                #include <nvrtc.h>
                #include <cublasLt.h>
                template <class T> std::string kind() {
                    if constexpr (std::is_void_v<T>) return "v";
                    else return (std::is_floating_point_v<T> ? "f" : "i") + std::to_string(sizeof(T));
                }
                template <class R, class... A> std::string says(R (*)(A...)) {
                    std::string all;
                    ((all += (all.empty() ? "" : " ") + kind<A>()), ...);
                    return kind<R>() + "(" + all + ")";
                }
                template <class T, class = std::enable_if_t<std::is_integral_v<T> || std::is_enum_v<T>>> std::string says(T value) {
                    return std::to_string(static_cast<long long>(value));
                }
                int main() {

                """ + string.Concat(rows.Select(row => row.Since is null
                    ? $"std::cout << says({row.Header}) << \"\\n\";\n"
                    : $"#if CUDA_VERSION >= {Version.Parse(row.Since).Major * 1000 + (Version.Parse(row.Since).Minor * 10)}\nstd::cout << says({row.Header}) << \"\\n\";\n#else\nstd::cout << \"\\n\";\n#endif\n")) + "}\n");
            Run("g++", ["-std=c++17", "-I" + include, "-I" + Path.Combine(include, "cccl"), source, "-c", "-o", program + ".o"]);

            // The program calls nothing of CUDA: names of functions are only looked at for their types.
            Run("g++", [program + ".o", "-Wl,--unresolved-symbols=ignore-all", "-no-pie", "-o", program]);
            return Run(program, []).Split('\n')[..rows.Length];
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static string Run(string program, string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {errors.Result}");
        return output;
    }

    sealed record Row(string Ours, string Header, string Value, string? Since);
}
