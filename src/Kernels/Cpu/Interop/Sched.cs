// Scheduling calls of Linux's C library (sched.h, unistd.h). Masks of up to 1024 processors, as cpu_set_t.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cpu.Interop;

static unsafe partial class Sched
{
    const string Library = "libc";
    public const int MaskWords = 16;
    public const int MaskBytes = MaskWords * sizeof(ulong);

    [LibraryImport(Library)]
    public static partial int sched_getcpu();

    [LibraryImport(Library)]
    public static partial int sched_getaffinity(int thread, nuint bytes, ulong* mask);

    [LibraryImport(Library)]
    public static partial int sched_setaffinity(int thread, nuint bytes, ulong* mask);

    [LibraryImport(Library)]
    public static partial int gettid();
}
