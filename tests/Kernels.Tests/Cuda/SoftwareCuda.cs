// What the CUDA tests share: the software device's context and stream, kernels compiled once, bf16 arrays.
using System.Collections.Concurrent;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

/// <summary>One open software device for all tests of the collection; they run one after the other.</summary>
public sealed class SoftwareCuda : IDisposable
{
    readonly ConcurrentDictionary<string, CudaModule> _modules = new();
    CudaContext? _context;
    CudaStream? _stream;

    internal CudaContext Context
    {
        get
        {
            SkipIfAbsent();
            return _context ??= CudaContext.Open("softcuda:0");
        }
    }

    internal CudaStream Stream => _stream ??= new CudaStream(Context);

    internal static CudaRuntimeCompiler Compiler =>
        new(CudaLibraries.Software.Nvrtc, new CubinCache(Path.Combine(Path.GetTempPath(), "orion-tests-cubin")));

    internal static void SkipIfAbsent()
    {
        if (CudaLibraries.Software.NotSupportedReason is { } reason)
        {
            Assert.Skip(reason);
        }
    }

    internal CudaKernel Kernel(string source, string name) =>
        _modules.GetOrAdd(source, s => new CudaModule(Context, Compiler.Compile(s, "sm_80"))).Kernel(name);

    internal CudaDeviceVariable<T> Upload<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        CudaDeviceVariable<T> variable = new(Context, values.Length);
        variable.CopyFrom(values);
        return variable;
    }

    internal CudaDeviceVariable<T> Allocate<T>(long count)
        where T : unmanaged => new(Context, count);

    internal T[] Download<T>(CudaDeviceVariable<T> variable)
        where T : unmanaged
    {
        Stream.Synchronize();
        T[] values = new T[variable.Count];
        variable.CopyTo(values);
        return values;
    }

    public void Dispose()
    {
        foreach (CudaModule module in _modules.Values)
        {
            module.Dispose();
        }

        _stream?.Dispose();
        _context?.Dispose();
    }
}

[CollectionDefinition("softcuda")]
public sealed class SoftwareCudaCollection : ICollectionFixture<SoftwareCuda>;

/// <summary>bf16 as the tests see it, and what one rounding to it may cost.</summary>
static class Bf16
{
    /// <summary>One rounding to nearest, relative: half of the last of 7 fraction bits, at worst on a value of 1.</summary>
    public const double Rounding = 1.0 / 256;

    /// <summary>Relative error of one fp32 operation.</summary>
    public const double Single = 1.0 / (1 << 24);

    public static ushort From(double value)
    {
        uint bits = BitConverter.SingleToUInt32Bits((float)value);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    public static double To(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    public static ushort[] Random(Random random, int count, double scale = 1) =>
        [.. Enumerable.Range(0, count).Select(_ => From(scale * ((2 * random.NextDouble()) - 1)))];

    public static double[] Widen(ushort[] values) => [.. values.Select(To)];

    public static double[] Widen(float[] values) => [.. values.Select(v => (double)v)];

    /// <summary>Every |actual - expected| is at most its own bound.</summary>
    public static void Close(double[] expected, double[] actual, double[] allowed, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(Math.Abs(actual[i] - expected[i]) <= allowed[i],
                $"{what}[{i}] is {actual[i]:G9}, expected {expected[i]:G9} within {allowed[i]:G3}");
        }
    }

    /// <summary>Every |actual - expected| is at most relative * |expected| + absolute.</summary>
    public static void Close(double[] expected, double[] actual, double relative, double absolute, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            double allowed = (relative * Math.Abs(expected[i])) + absolute;
            Assert.True(Math.Abs(actual[i] - expected[i]) <= allowed,
                $"{what}[{i}] is {actual[i]:G9}, expected {expected[i]:G9} within {allowed:G3}");
        }
    }
}
