// One kernel on random data: how to launch it, what it must move and compute, and how far its results may lie from the
// double-precision oracle. `kernels check` runs every case on each of its awkward shapes, `kernels bench` on one large one.
namespace OrionNative.Kernels.Cuda;

/// <summary>A result of a kernel beside the oracle's.</summary>
/// <param name="Allowed">Allowed error of each element.</param>
sealed record KernelResult(string Name, Func<double[]> Actual, double[] Expected, double[] Allowed)
{
    /// <summary>The same bits, or the same integers.</summary>
    public KernelResult(string name, Func<double[]> actual, double[] expected)
        : this(name, actual, expected, relative: 0, absolute: 0)
    {
    }

    /// <summary>One bound for all elements.</summary>
    /// <param name="name">What it is.</param>
    /// <param name="actual">Reads it from the device.</param>
    /// <param name="expected">The oracle's.</param>
    /// <param name="relative">Allowed error relative to the expected value: one rounding is 2^-8 for bf16, 2^-24 for fp32.</param>
    /// <param name="absolute">Allowed error besides.</param>
    public KernelResult(string name, Func<double[]> actual, double[] expected, double relative, double absolute)
        : this(name, actual, expected, Array.ConvertAll(expected, e => (relative * Math.Abs(e)) + absolute))
    {
    }

    /// <summary>The worst error in units of what is allowed: at most 1 is right.</summary>
    public double WorstRatio()
    {
        double[] actual = Actual();
        if (actual.Length != Expected.Length)
        {
            throw new InvalidOperationException($"{Name}: {actual.Length} elements, {Expected.Length} expected");
        }

        double worst = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            // A NaN anywhere makes the worst NaN, which is not at most 1: Math.Max keeps it.
            worst = Math.Max(worst, Math.Abs(actual[i] - Expected[i]) / (Allowed[i] + double.Epsilon));
        }

        return worst;
    }
}

/// <summary>A case on a device. The results are computed only when they are asked for: benchmarks need none.</summary>
/// <param name="context">The device.</param>
/// <param name="compiler">Its compiler.</param>
/// <param name="stream">Where the kernel runs.</param>
/// <param name="variant">Which of the shapes to check, from 0.</param>
/// <param name="size">0 checks; more times the large shape, scaled by it.</param>
/// <param name="modules">Keeps modules for the cases to come; null: this case ends its own.</param>
sealed class KernelCase(CudaContext context, CudaRuntimeCompiler compiler, CudaStream stream, int variant, int size, Dictionary<string, CudaModule>? modules) : IDisposable
{
    readonly List<IDisposable> _owned = [];
    Action? _launch;

    /// <summary>How many shapes there are to check.</summary>
    public int Variants { get; private set; } = 1;

    public string Shape { get; set; } = "";

    /// <summary>Bytes that the kernel must read and write.</summary>
    public long Bytes { get; set; }

    /// <summary>Floating-point operations, those of tensor cores where the kernel uses them; 0 for moves and integers.</summary>
    public double Flops { get; set; }

    public Func<KernelResult[]> Results { get; set; } = () => [];

    public CudaStream Stream => stream;

    /// <summary>Scale of the large shape; 0 while checking.</summary>
    public int Size => size;

    /// <summary>The shape of this case: the large one, or the variant's.</summary>
    public T Pick<T>(T large, params ReadOnlySpan<T> checks)
    {
        Variants = checks.Length;
        return size > 0 ? large : checks[variant];
    }

    public CudaKernel Kernel(string source, string name)
    {
        if (modules is null || !modules.TryGetValue(source, out CudaModule? module))
        {
            module = new CudaModule(context, compiler.Compile(source, $"sm_{context.Architecture}"));
            if (modules is null)
            {
                _owned.Add(module);
            }
            else
            {
                modules.Add(source, module);
            }
        }

        return module.Kernel(name);
    }

    public CudaDeviceVariable<T> Upload<T>(T[] values)
        where T : unmanaged
    {
        CudaDeviceVariable<T> variable = Allocate<T>(values.Length);
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

    /// <summary>A view [rows, columns] of these values whose rows lie `stride` elements apart, `offset` elements into a buffer
    /// that ends with the last of them.</summary>
    public CaseView<T> View<T>(T[] values, int columns, int stride, int offset)
        where T : unmanaged
    {
        int rows = values.Length / columns;
        if (size > 0 && stride == columns && offset == 0)
        {
            return new CaseView<T>(Upload(values), values, columns, stride, offset);
        }

        T[] all = new T[offset + ((rows - 1) * stride) + columns];
        new Random(rows).NextBytes(System.Runtime.InteropServices.MemoryMarshal.AsBytes(all.AsSpan()));
        for (int r = 0; r < rows; r++)
        {
            values.AsSpan(r * columns, columns).CopyTo(all.AsSpan(offset + (r * stride)));
        }

        return new CaseView<T>(Upload(all), all, columns, stride, offset);
    }

    public void LaunchWith(Action launch) => _launch = launch;

    public void Launch() => _launch!();

    public static T[] Read<T>(CudaDeviceVariable<T> variable)
        where T : unmanaged
    {
        T[] values = new T[variable.Count];
        variable.CopyTo(values);
        return values;
    }

    public static double[] Widen(CudaDeviceVariable<ushort> variable) => KernelCases.Widen(Read(variable));

    public static double[] Widen(CudaDeviceVariable<float> variable) => KernelCases.Widen(Read(variable));

    public void Dispose()
    {
        stream.Synchronize();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }
    }
}

/// <summary>A strided, offset view of device memory; what lies between its rows is noise that no kernel may touch.</summary>
sealed class CaseView<T>(CudaDeviceVariable<T> buffer, T[] before, int columns, int stride, int offset)
    where T : unmanaged
{
    public unsafe ulong Address => buffer.Address + (ulong)(offset * sizeof(T));

    public int Stride => stride;

    /// <summary>The elements of the view, row after row.</summary>
    public T[] Read()
    {
        T[] all = KernelCase.Read(buffer);
        return [.. all.Where((_, i) => Inside(i))];
    }

    /// <summary>Elements outside the view that changed: 0 is right.</summary>
    public KernelResult Untouched(string name) => new(name + " between its rows", () =>
    {
        T[] all = KernelCase.Read(buffer);
        return [all.Where((value, i) => !Inside(i) && !value.Equals(before[i])).Count()];
    }, [0]);

    bool Inside(int i) => i >= offset && (i - offset) % stride < columns;
}
