// madvise of libc, Linux only: advice about pages, never needed for correctness.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cpu.Interop;

static unsafe partial class Mman
{
    public const int MADV_HUGEPAGE = 14;

    [LibraryImport("libc")]
    public static partial int madvise(void* address, nuint length, int advice);
}
