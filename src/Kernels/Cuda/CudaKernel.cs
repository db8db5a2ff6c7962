// A kernel and its launch. Arguments travel by value in 8-byte cells on the stack: no boxing, no array, no allocation.
// Where the driver tells the parameters (CUDA 12.4 and the software device), their number and sizes are checked.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>One argument of a launch.</summary>
readonly struct KernelArgument
{
    readonly ulong _bits;

    KernelArgument(ulong bits, int bytes)
    {
        _bits = bits;
        Bytes = bytes;
    }

    public int Bytes { get; }

    public static implicit operator KernelArgument(int value) => new((uint)value, 4);

    public static implicit operator KernelArgument(uint value) => new(value, 4);

    public static implicit operator KernelArgument(float value) => new(BitConverter.SingleToUInt32Bits(value), 4);

    public static implicit operator KernelArgument(double value) => new(BitConverter.DoubleToUInt64Bits(value), 8);

    public static implicit operator KernelArgument(long value) => new((ulong)value, 8);

    public static implicit operator KernelArgument(ulong value) => new(value, 8);

    public static implicit operator KernelArgument(nint value) => new((ulong)value, 8);

    public static implicit operator KernelArgument(Tensor value) => new((ulong)value.Address, 8);
}

/// <summary>A grid or a block: x, y, z, each at least 1.</summary>
readonly record struct LaunchSize(int X, int Y, int Z)
{
    public static implicit operator LaunchSize(int x) => new(x, 1, 1);
}

sealed unsafe class CudaKernel
{
    const int ArgumentsMost = 32;
    readonly CudaContext _context;
    readonly nint _function;
    readonly byte[]? _parameterBytes;

    internal CudaKernel(CudaContext context, string name, nint function)
    {
        _context = context;
        Name = name;
        _function = function;
        _parameterBytes = ReadParameters();
    }

    public string Name { get; }

    /// <summary>Registers of a thread; 0 on the software device.</summary>
    public int Registers => Attribute(CudaDriver.FunctionAttributeRegisters);

    /// <summary>Allows launches with up to this much dynamic shared memory; needed above 48 KiB.</summary>
    public void AllowDynamicShared(int bytes)
    {
        CudaDriver driver = _context.Enter();
        driver.Check(
            driver.cuFuncSetAttribute(_function, CudaDriver.FunctionAttributeDynamicSharedBytesMost, bytes),
            $"cuFuncSetAttribute {Name}", "dynamic shared bytes", bytes);
    }

    /// <summary>Queues the kernel. Throws at once for a wrong launch; what goes wrong while it runs comes at a later call.</summary>
    public void Launch(CudaStream stream, LaunchSize grid, LaunchSize block, int sharedBytes, params ReadOnlySpan<KernelArgument> arguments)
    {
        if (arguments.Length > ArgumentsMost)
        {
            throw new ArgumentException($"kernel {Name}: {arguments.Length} arguments given, at most {ArgumentsMost} have a place");
        }

        if (_parameterBytes is not null)
        {
            CheckArguments(arguments);
        }

        void** pointers = stackalloc void*[ArgumentsMost];
        fixed (KernelArgument* first = arguments)
        {
            for (int i = 0; i < arguments.Length; i++)
            {
                pointers[i] = first + i;
            }

            CudaDriver driver = _context.Enter();
            int status = driver.cuLaunchKernel(
                _function, (uint)grid.X, (uint)grid.Y, (uint)grid.Z, (uint)block.X, (uint)block.Y, (uint)block.Z,
                (uint)sharedBytes, stream.Handle, pointers, null);
            if (status != 0)
            {
                throw new CudaException(driver, status, "cuLaunchKernel", $"{Name}, grid {grid}, block {block}, {sharedBytes} shared bytes");
            }
        }
    }

    void CheckArguments(ReadOnlySpan<KernelArgument> arguments)
    {
        if (arguments.Length != _parameterBytes!.Length)
        {
            throw new ArgumentException($"kernel {Name} takes {_parameterBytes.Length} parameters, not {arguments.Length}");
        }

        for (int i = 0; i < arguments.Length; i++)
        {
            if (arguments[i].Bytes != _parameterBytes[i])
            {
                throw new ArgumentException($"kernel {Name}, parameter {i}: {_parameterBytes[i]} bytes expected, {arguments[i].Bytes} given");
            }
        }
    }

    byte[]? ReadParameters()
    {
        CudaDriver driver = _context.Enter();
        if (driver.cuFuncGetParamInfo == null)
        {
            return null;
        }

        List<byte> bytes = [];
        nuint offset, size;
        while (bytes.Count < ArgumentsMost && driver.cuFuncGetParamInfo(_function, (nuint)bytes.Count, &offset, &size) == 0)
        {
            bytes.Add((byte)size);
        }

        return [.. bytes];
    }

    int Attribute(int attribute)
    {
        CudaDriver driver = _context.Enter();
        int value;
        driver.Check(driver.cuFuncGetAttribute(&value, attribute, _function), $"cuFuncGetAttribute {Name}", "attribute", attribute);
        return value;
    }
}
