// Where faults are planted: device 1, for a fault makes a context unusable and the other tests go on using device 0. It is reset after
// every test, so what a faulty kernel left behind is gone.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

/// <summary>The context and stream of one test with a fault in it.</summary>
public abstract class PlantedFaults : IDisposable
{
    private protected PlantedFaults()
    {
        SoftwareCuda.SkipIfAbsent();
        Context = CudaContext.Open("softcuda:1");
        Stream = new CudaStream(Context);
    }

    private protected CudaContext Context { get; }

    private protected CudaStream Stream { get; }

    /// <summary>Zeroed memory, gone at the end of the test.</summary>
    private protected ulong Zeros<T>(int count)
        where T : unmanaged
    {
        CudaDeviceVariable<T> variable = new(Context, count);
        variable.ZeroAsync(Stream);
        return variable.Address;
    }

    /// <summary>The kernel `planted` of a text.</summary>
    private protected CudaKernel Planted(string kernel) =>
        new CudaModule(Context, SoftwareCuda.Compiler.CompileText("planted.cu", "#include \"ptx.cuh\"\n" + kernel, "sm_80")).Kernel("planted");

    private protected static string Kernel(string parameters, string body) => $"extern \"C\" __global__ void planted({parameters}) {{ {body} }}\n";

    /// <summary>What the device says of one block of a kernel that must go wrong.</summary>
    private protected string Fault(string kernel, int threads, int sharedBytes, params KernelArgument[] arguments)
    {
        Planted(kernel).Launch(Stream, 1, threads, sharedBytes, arguments);
        return FaultOf("planted");
    }

    /// <summary>What the device says about the work so far, which must have gone wrong in this kernel.</summary>
    private protected string FaultOf(string kernel)
    {
        CudaException error = Assert.Throws<CudaException>(Stream.Synchronize);
        Assert.Contains($"kernel {kernel}, block (", error.Message, StringComparison.Ordinal);
        return error.Message;
    }

    public void Dispose()
    {
        Stream.Dispose();
        Context.Reset();
        Context.Dispose();
        GC.SuppressFinalize(this);
    }
}
