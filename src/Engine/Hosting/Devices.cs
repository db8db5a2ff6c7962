// Devices by their selector: cpu, cuda:N, softcuda:N.
using OrionNative.Engine.Run;
using OrionNative.Kernels;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Engine.Hosting;

static class Devices
{
    /// <summary>Opens a device.</summary>
    /// <param name="selector">"cpu".</param>
    /// <param name="threads">CPU threads; 0 takes every processor.</param>
    public static IDevice Open(string selector, int threads) => selector switch
    {
        "cpu" => new CpuDevice(threads),
        _ => throw new ConfigurationException($"device '{selector}' is not one that trains here; it can be cpu"),
    };

    /// <summary>FLOP/s that the device reaches, measured now; the denominator of model FLOP utilization.</summary>
    public static double PeakFlops(int threads) => 1e9 * CpuPeak.MeasureFmaGflops(threads > 0 ? threads : Environment.ProcessorCount);
}
