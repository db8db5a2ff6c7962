// Memory of the CPU device. Blocks of 2 MiB and more start on a 2 MiB boundary and ask for huge pages, where the system gives
// them to whoever asks (Linux, transparent_hugepage = madvise): a tile of c touches 14 rows, each on a page of its own, and
// with 4 KiB pages the matrices of a step need several times the translations that the processor keeps.
// The request is a hint: a system that refuses it gives small pages and the same results.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cpu.Interop;

namespace OrionNative.Kernels.Cpu;

static unsafe class CpuMemory
{
    const int SmallPage = 4096;
    const long HugePage = 2 << 20;

    /// <summary>Not cleared, on a page boundary.</summary>
    /// <exception cref="OutOfMemoryException">The system does not give the bytes.</exception>
    public static void* Allocate(long bytes)
    {
        if (bytes < HugePage)
        {
            return NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 1), SmallPage);
        }

        void* memory = NativeMemory.AlignedAlloc((nuint)bytes, (nuint)HugePage);
        if (OperatingSystem.IsLinux())
        {
            _ = Mman.madvise(memory, (nuint)(bytes / HugePage * HugePage), Mman.MADV_HUGEPAGE);
        }

        return memory;
    }

    public static void Free(void* memory) => NativeMemory.AlignedFree(memory);
}
