// One kernel on random data of one shape: how to launch it, what it must move and compute, and how far its results may lie from
// the double-precision oracle. `kernels check` and `kernels bench` are two readings of the same cases.
namespace OrionNative.Kernels.Cuda;

/// <summary>A result of a kernel beside the oracle's.</summary>
/// <param name="Relative">Allowed error relative to the expected value: one rounding is 2^-8 for bf16, 2^-24 for fp32.</param>
/// <param name="Absolute">Allowed error besides.</param>
sealed record KernelResult(string Name, Func<double[]> Actual, double[] Expected, double Relative, double Absolute)
{
    /// <summary>The worst error in units of what is allowed: at most 1 is right.</summary>
    public double WorstRatio()
    {
        double[] actual = Actual();
        double worst = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double ratio = Math.Abs(actual[i] - Expected[i]) / ((Relative * Math.Abs(Expected[i])) + Absolute + double.Epsilon);
            worst = ratio <= worst ? worst : ratio;
        }

        return worst;
    }
}

/// <summary>A case on a device. The results are computed only when they are asked for: benchmarks need none.</summary>
sealed class KernelCase(CudaContext context, CudaRuntimeCompiler compiler, CudaStream stream) : IDisposable
{
    readonly List<IDisposable> _owned = [];
    Action? _launch;

    public string Shape { get; set; } = "";

    /// <summary>Bytes that the kernel must read and write.</summary>
    public long Bytes { get; set; }

    /// <summary>Floating-point operations on tensor cores; 0 where the kernel is bound by memory.</summary>
    public double Flops { get; set; }

    public Func<KernelResult[]> Results { get; set; } = () => [];

    public CudaStream Stream => stream;

    public CudaKernel Kernel(string source, string name)
    {
        CudaModule module = new(context, compiler.Compile(source, $"sm_{context.Architecture}"));
        _owned.Add(module);
        return module.Kernel(name);
    }

    public CudaDeviceVariable<T> Upload<T>(T[] values)
        where T : unmanaged
    {
        CudaDeviceVariable<T> variable = new(context, values.Length);
        _owned.Add(variable);
        variable.CopyFrom(values);
        return variable;
    }

    public CudaDeviceVariable<T> Allocate<T>(long count)
        where T : unmanaged
    {
        CudaDeviceVariable<T> variable = new(context, count);
        _owned.Add(variable);
        return variable;
    }

    public void LaunchWith(Action launch) => _launch = launch;

    public void Launch() => _launch!();

    public static double[] Widen(CudaDeviceVariable<ushort> variable)
    {
        ushort[] values = new ushort[variable.Count];
        variable.CopyTo(values);
        return Array.ConvertAll(values, v => (double)BitConverter.UInt32BitsToSingle((uint)v << 16));
    }

    public static double[] Widen(CudaDeviceVariable<float> variable)
    {
        float[] values = new float[variable.Count];
        variable.CopyTo(values);
        return Array.ConvertAll(values, v => (double)v);
    }

    public void Dispose()
    {
        stream.Synchronize();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }
    }
}
