// Devices by their selector: cpu, cuda:N, softcuda:N. cuda:N computes on an NVIDIA card; softcuda:N runs the same kernels and the same
// calls on this machine's processor, for tests: right, and thousands of times slower.
using OrionNative.Engine.Run;
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Hosting;

static class Devices
{
    /// <summary>What --device means, for every command that has it.</summary>
    public const string Help = "where to compute: cpu, cuda:N (an NVIDIA card) or softcuda:N (the card's kernels on this processor, slow: for tests)";

    /// <summary>Opens a device.</summary>
    /// <param name="selector">cpu, cuda:N or softcuda:N.</param>
    /// <param name="threads">CPU threads; 0 takes every processor.</param>
    /// <exception cref="ConfigurationException">Not a selector, or no such card.</exception>
    /// <exception cref="PlatformNotSupportedException">CUDA, or the software device, is not on this machine.</exception>
    public static IDevice Open(string selector, int threads)
    {
        string kind = selector.Split(':')[0];
        if (kind is not ("cuda" or "softcuda"))
        {
            return selector == "cpu" ? new CpuDevice(threads) : throw new ConfigurationException($"device '{selector}' is not known; it can be cpu, cuda:0 or softcuda:0{NearestName.Hint(kind, ["cpu", "cuda", "softcuda"])}");
        }

        try
        {
            return new CudaDevice(selector);
        }
        catch (ArgumentException error)
        {
            throw new ConfigurationException(error.Message);
        }
        catch (CudaException error) when (error.Call == "cuDeviceGet")
        {
            throw new ConfigurationException($"device '{selector}' is not on this machine: {error.Message}; `orion-engine doctor` lists the devices");
        }
    }

    /// <summary>FLOP/s of a device, the denominator of model FLOP utilization: measured now on the CPU, the published figure of a
    /// card; NaN where neither means anything.</summary>
    public static double PeakFlops(string selector, int threads)
    {
        if (selector == "cpu")
        {
            return 1e9 * CpuPeak.MeasureFmaGflops(threads > 0 ? threads : Environment.ProcessorCount);
        }

        using CudaContext context = CudaContext.Open(selector);
        return Cards.PeakFlops(context.DeviceName);
    }
}
