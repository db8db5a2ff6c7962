// A driver call failed: which one, on what, what the status means, and on the software device the whole story.
using System.Runtime.InteropServices;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>A CUDA call returned an error.</summary>
public sealed class CudaException : Exception
{
    internal unsafe CudaException(CudaDriver driver, int status, string call, string arguments)
        : base(Describe(driver, status, call, arguments))
    {
        Status = status;
        StatusName = driver.NameOf(status);
        Call = call;
    }

    /// <summary>The CUresult.</summary>
    public int Status { get; }

    /// <summary>Its name, such as CUDA_ERROR_OUT_OF_MEMORY.</summary>
    public string StatusName { get; }

    /// <summary>The entry point that returned it.</summary>
    public string Call { get; }

    static unsafe string Describe(CudaDriver driver, int status, string call, string arguments)
    {
        string text = driver.softGetLastErrorText == null ? "" : Marshal.PtrToStringUTF8((nint)driver.softGetLastErrorText()) ?? "";
        return $"{call}({arguments}) failed: {driver.NameOf(status)} ({status}), {driver.MeaningOf(status)}"
            + (text.Length == 0 ? "" : $": {text}");
    }
}
