// Ceilings: fused multiply-adds that stay in registers, per vector path and thread count, and copies of more memory than
// the caches hold.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cpu;

namespace OrionNative.Bench;

static unsafe class PeaksSuite
{
    const long CopyBytes = 256L << 20;

    public static int Run(string[] arguments)
    {
        int most = arguments.Length > 0 ? int.Parse(arguments[0]) : Environment.ProcessorCount;
        for (int threads = 1; threads <= most; threads *= 2)
        {
            using ThreadTeam team = new(threads);
            foreach (VectorPath path in Enum.GetValues<VectorPath>().Where(path => path <= VectorPathChoice.Widest))
            {
                Console.WriteLine($"fma   {threads} threads {(int)path} bit: {CpuPeak.MeasureFmaGflops(team, path),8:F1} GFLOP/s");
            }

            Console.WriteLine($"copy  {threads} threads: {MeasureCopy(team),8:F1} GB/s (read + written)");
        }

        return 0;
    }

    /// <summary>10^9 bytes a second, read and written both counted, the best of five.</summary>
    static double MeasureCopy(ThreadTeam team)
    {
        void* memory = NativeMemory.AlignedAlloc((nuint)(2 * CopyBytes), 4096);
        NativeMemory.Fill(memory, (nuint)(2 * CopyBytes), 1);
        double best = double.MaxValue;
        for (int round = 0; round < 5; round++)
        {
            double seconds = Clock.Alternately(1, 0, () => team.Run((int)(CopyBytes >> 20), memory, &CopyPart))[0][0];
            best = Math.Min(best, seconds);
        }

        NativeMemory.AlignedFree(memory);
        return 2 * CopyBytes / best / 1e9;
    }

    static void CopyPart(void* memory, int item)
    {
        byte* from = (byte*)memory + ((long)item << 20);
        Buffer.MemoryCopy(from, from + CopyBytes, 1 << 20, 1 << 20);
    }
}
