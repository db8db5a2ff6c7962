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
