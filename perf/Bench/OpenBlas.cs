// The peer of the matrix product: Debian's libopenblas0-pthread, loaded only here.
using System.Runtime.InteropServices;

namespace OrionNative.Bench;

static unsafe class OpenBlas
{
    const int RowMajor = 101, NoTranspose = 111, Transpose = 112;
    static readonly nint _library = NativeLibrary.TryLoad("libopenblas.so.0", out nint handle) ? handle : 0;

    public const string HowToInstall = "libopenblas.so.0 was not found; apt-get install libopenblas0-pthread";

    public static bool IsPresent => _library != 0;

    public static string Configuration => IsPresent
        ? Marshal.PtrToStringUTF8(((delegate* unmanaged<nint>)NativeLibrary.GetExport(_library, "openblas_get_config"))()) ?? ""
        : "absent";

    public static void SetThreads(int count) =>
        ((delegate* unmanaged<int, void>)NativeLibrary.GetExport(_library, "openblas_set_num_threads"))(count);

    public static void Sgemm(bool transposeA, bool transposeB, int m, int n, int k, float alpha, float* a, int strideA, float* b, int strideB, float beta, float* c, int strideC) =>
        ((delegate* unmanaged<int, int, int, int, int, int, float, float*, int, float*, int, float, float*, int, void>)_sgemm)(
            RowMajor, transposeA ? Transpose : NoTranspose, transposeB ? Transpose : NoTranspose, m, n, k, alpha, a, strideA, b, strideB, beta, c, strideC);

    static readonly nint _sgemm = IsPresent ? NativeLibrary.GetExport(_library, "cblas_sgemm") : 0;
}
