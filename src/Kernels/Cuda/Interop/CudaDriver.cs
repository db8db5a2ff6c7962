// The CUDA driver API as function pointers, resolved by name from one loaded library: libcuda.so.1 or the software device's
// look-alike. Names are C's, with the version suffix that the header's macros hide. Every type is blittable: a handle is
// nint, an address is ulong, so a call is a call and nothing else.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda.Interop;

/// <summary>Entry points of one driver library. All must exist; cuFuncGetParamInfo (CUDA 12.4) may be missing.</summary>
sealed unsafe class CudaDriver
{
    public const int DeviceAttributeMultiprocessors = 16;
    public const int DeviceAttributeComputeMajor = 75;
    public const int DeviceAttributeComputeMinor = 76;
    public const int DeviceAttributeSharedBytesOptIn = 97;
    public const int FunctionAttributeStaticSharedBytes = 1;
    public const int FunctionAttributeRegisters = 4;
    public const int FunctionAttributeDynamicSharedBytesMost = 8;
    public const uint StreamNonBlocking = 1;
    public const uint EventDisableTiming = 2;
    public const int CaptureModeThreadLocal = 1;
    public const int StatusOutOfMemory = 2;
    public const int StatusStubLibrary = 34;
    public const int StatusDeviceUnavailable = 46;
    public const int StatusNoDevice = 100;
    public const int StatusNotReady = 600;
    public const int StatusSystemNotReady = 802;
    public const int StatusDriverMismatch = 803;
    public const int StatusCompatNotSupported = 804;

    public readonly delegate* unmanaged[Cdecl]<uint, int> cuInit;
    public readonly delegate* unmanaged[Cdecl]<int*, int> cuDriverGetVersion;
    public readonly delegate* unmanaged[Cdecl]<int, byte**, int> cuGetErrorName;
    public readonly delegate* unmanaged[Cdecl]<int, byte**, int> cuGetErrorString;
    public readonly delegate* unmanaged[Cdecl]<int*, int> cuDeviceGetCount;
    public readonly delegate* unmanaged[Cdecl]<int*, int, int> cuDeviceGet;
    public readonly delegate* unmanaged[Cdecl]<byte*, int, int, int> cuDeviceGetName;
    public readonly delegate* unmanaged[Cdecl]<nuint*, int, int> cuDeviceTotalMem_v2;
    public readonly delegate* unmanaged[Cdecl]<int*, int, int, int> cuDeviceGetAttribute;
    public readonly delegate* unmanaged[Cdecl]<nint*, int, int> cuDevicePrimaryCtxRetain;
    public readonly delegate* unmanaged[Cdecl]<int, int> cuDevicePrimaryCtxRelease_v2;
    public readonly delegate* unmanaged[Cdecl]<int, int> cuDevicePrimaryCtxReset_v2;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuCtxSetCurrent;
    public readonly delegate* unmanaged[Cdecl]<nint*, int> cuCtxGetCurrent;
    public readonly delegate* unmanaged[Cdecl]<int> cuCtxSynchronize;
    public readonly delegate* unmanaged[Cdecl]<ulong*, nuint, int> cuMemAlloc_v2;
    public readonly delegate* unmanaged[Cdecl]<ulong, int> cuMemFree_v2;
    public readonly delegate* unmanaged[Cdecl]<nuint*, nuint*, int> cuMemGetInfo_v2;
    public readonly delegate* unmanaged[Cdecl]<void**, nuint, uint, int> cuMemHostAlloc;
    public readonly delegate* unmanaged[Cdecl]<void*, int> cuMemFreeHost;
    public readonly delegate* unmanaged[Cdecl]<void*, nuint, uint, int> cuMemHostRegister_v2;
    public readonly delegate* unmanaged[Cdecl]<void*, int> cuMemHostUnregister;
    public readonly delegate* unmanaged[Cdecl]<ulong, void*, nuint, int> cuMemcpyHtoD_v2;
    public readonly delegate* unmanaged[Cdecl]<void*, ulong, nuint, int> cuMemcpyDtoH_v2;
    public readonly delegate* unmanaged[Cdecl]<ulong, ulong, nuint, int> cuMemcpyDtoD_v2;
    public readonly delegate* unmanaged[Cdecl]<ulong, void*, nuint, nint, int> cuMemcpyHtoDAsync_v2;
    public readonly delegate* unmanaged[Cdecl]<void*, ulong, nuint, nint, int> cuMemcpyDtoHAsync_v2;
    public readonly delegate* unmanaged[Cdecl]<ulong, ulong, nuint, nint, int> cuMemcpyDtoDAsync_v2;
    public readonly delegate* unmanaged[Cdecl]<ulong, byte, nuint, nint, int> cuMemsetD8Async;
    public readonly delegate* unmanaged[Cdecl]<ulong, uint, nuint, nint, int> cuMemsetD32Async;
    public readonly delegate* unmanaged[Cdecl]<nint*, uint, int, int> cuStreamCreateWithPriority;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuStreamDestroy_v2;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuStreamSynchronize;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuStreamQuery;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, uint, int> cuStreamWaitEvent;
    public readonly delegate* unmanaged[Cdecl]<nint, int, int> cuStreamBeginCapture_v2;
    public readonly delegate* unmanaged[Cdecl]<nint, nint*, int> cuStreamEndCapture;
    public readonly delegate* unmanaged[Cdecl]<nint, delegate* unmanaged[Cdecl]<void*, void>, void*, int> cuLaunchHostFunc;
    public readonly delegate* unmanaged[Cdecl]<nint*, uint, int> cuEventCreate;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuEventDestroy_v2;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, int> cuEventRecord;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuEventSynchronize;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuEventQuery;
    public readonly delegate* unmanaged[Cdecl]<float*, nint, nint, int> cuEventElapsedTime;
    public readonly delegate* unmanaged[Cdecl]<nint*, void*, int> cuModuleLoadData;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuModuleUnload;
    public readonly delegate* unmanaged[Cdecl]<nint*, nint, byte*, int> cuModuleGetFunction;
    public readonly delegate* unmanaged[Cdecl]<int*, int, nint, int> cuFuncGetAttribute;
    public readonly delegate* unmanaged[Cdecl]<nint, int, int, int> cuFuncSetAttribute;
    public readonly delegate* unmanaged[Cdecl]<nint, nuint, nuint*, nuint*, int> cuFuncGetParamInfo;
    public readonly delegate* unmanaged[Cdecl]<int*, nint, int, nuint, int> cuOccupancyMaxActiveBlocksPerMultiprocessor;
    public readonly delegate* unmanaged[Cdecl]<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int> cuLaunchKernel;
    public readonly delegate* unmanaged[Cdecl]<nint*, nint, ulong, int> cuGraphInstantiateWithFlags;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, int> cuGraphLaunch;
    public readonly delegate* unmanaged[Cdecl]<nint, nint*, nuint*, int> cuGraphGetNodes;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuGraphDestroy;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cuGraphExecDestroy;

    /// <summary>The software device's text of this thread's last error; null on real hardware.</summary>
    public readonly delegate* unmanaged[Cdecl]<byte*> softGetLastErrorText;

    /// <summary>The order in which the software device runs warps; null on real hardware.</summary>
    public readonly delegate* unmanaged[Cdecl]<uint, void> softSetScheduleSeed;
    public readonly delegate* unmanaged[Cdecl]<int, void> softSetLateCopies;
    public readonly delegate* unmanaged[Cdecl]<int, byte*> softTrace;

    public CudaDriver(LoadedLibrary library)
    {
        Path = library.Path;
        cuInit = (delegate* unmanaged[Cdecl]<uint, int>)library.Export("cuInit");
        cuDriverGetVersion = (delegate* unmanaged[Cdecl]<int*, int>)library.Export("cuDriverGetVersion");
        cuGetErrorName = (delegate* unmanaged[Cdecl]<int, byte**, int>)library.Export("cuGetErrorName");
        cuGetErrorString = (delegate* unmanaged[Cdecl]<int, byte**, int>)library.Export("cuGetErrorString");
        cuDeviceGetCount = (delegate* unmanaged[Cdecl]<int*, int>)library.Export("cuDeviceGetCount");
        cuDeviceGet = (delegate* unmanaged[Cdecl]<int*, int, int>)library.Export("cuDeviceGet");
        cuDeviceGetName = (delegate* unmanaged[Cdecl]<byte*, int, int, int>)library.Export("cuDeviceGetName");
        cuDeviceTotalMem_v2 = (delegate* unmanaged[Cdecl]<nuint*, int, int>)library.Export("cuDeviceTotalMem_v2");
        cuDeviceGetAttribute = (delegate* unmanaged[Cdecl]<int*, int, int, int>)library.Export("cuDeviceGetAttribute");
        cuDevicePrimaryCtxRetain = (delegate* unmanaged[Cdecl]<nint*, int, int>)library.Export("cuDevicePrimaryCtxRetain");
        cuDevicePrimaryCtxRelease_v2 = (delegate* unmanaged[Cdecl]<int, int>)library.Export("cuDevicePrimaryCtxRelease_v2");
        cuDevicePrimaryCtxReset_v2 = (delegate* unmanaged[Cdecl]<int, int>)library.Export("cuDevicePrimaryCtxReset_v2");
        cuCtxSetCurrent = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuCtxSetCurrent");
        cuCtxGetCurrent = (delegate* unmanaged[Cdecl]<nint*, int>)library.Export("cuCtxGetCurrent");
        cuCtxSynchronize = (delegate* unmanaged[Cdecl]<int>)library.Export("cuCtxSynchronize");
        cuMemAlloc_v2 = (delegate* unmanaged[Cdecl]<ulong*, nuint, int>)library.Export("cuMemAlloc_v2");
        cuMemFree_v2 = (delegate* unmanaged[Cdecl]<ulong, int>)library.Export("cuMemFree_v2");
        cuMemGetInfo_v2 = (delegate* unmanaged[Cdecl]<nuint*, nuint*, int>)library.Export("cuMemGetInfo_v2");
        cuMemHostAlloc = (delegate* unmanaged[Cdecl]<void**, nuint, uint, int>)library.Export("cuMemHostAlloc");
        cuMemFreeHost = (delegate* unmanaged[Cdecl]<void*, int>)library.Export("cuMemFreeHost");
        cuMemHostRegister_v2 = (delegate* unmanaged[Cdecl]<void*, nuint, uint, int>)library.Export("cuMemHostRegister_v2");
        cuMemHostUnregister = (delegate* unmanaged[Cdecl]<void*, int>)library.Export("cuMemHostUnregister");
        cuMemcpyHtoD_v2 = (delegate* unmanaged[Cdecl]<ulong, void*, nuint, int>)library.Export("cuMemcpyHtoD_v2");
        cuMemcpyDtoH_v2 = (delegate* unmanaged[Cdecl]<void*, ulong, nuint, int>)library.Export("cuMemcpyDtoH_v2");
        cuMemcpyDtoD_v2 = (delegate* unmanaged[Cdecl]<ulong, ulong, nuint, int>)library.Export("cuMemcpyDtoD_v2");
        cuMemcpyHtoDAsync_v2 = (delegate* unmanaged[Cdecl]<ulong, void*, nuint, nint, int>)library.Export("cuMemcpyHtoDAsync_v2");
        cuMemcpyDtoHAsync_v2 = (delegate* unmanaged[Cdecl]<void*, ulong, nuint, nint, int>)library.Export("cuMemcpyDtoHAsync_v2");
        cuMemcpyDtoDAsync_v2 = (delegate* unmanaged[Cdecl]<ulong, ulong, nuint, nint, int>)library.Export("cuMemcpyDtoDAsync_v2");
        cuMemsetD8Async = (delegate* unmanaged[Cdecl]<ulong, byte, nuint, nint, int>)library.Export("cuMemsetD8Async");
        cuMemsetD32Async = (delegate* unmanaged[Cdecl]<ulong, uint, nuint, nint, int>)library.Export("cuMemsetD32Async");
        cuStreamCreateWithPriority = (delegate* unmanaged[Cdecl]<nint*, uint, int, int>)library.Export("cuStreamCreateWithPriority");
        cuStreamDestroy_v2 = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuStreamDestroy_v2");
        cuStreamSynchronize = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuStreamSynchronize");
        cuStreamQuery = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuStreamQuery");
        cuStreamWaitEvent = (delegate* unmanaged[Cdecl]<nint, nint, uint, int>)library.Export("cuStreamWaitEvent");
        cuLaunchHostFunc = (delegate* unmanaged[Cdecl]<nint, delegate* unmanaged[Cdecl]<void*, void>, void*, int>)library.Export("cuLaunchHostFunc");
        cuStreamBeginCapture_v2 = (delegate* unmanaged[Cdecl]<nint, int, int>)library.Export("cuStreamBeginCapture_v2");
        cuStreamEndCapture = (delegate* unmanaged[Cdecl]<nint, nint*, int>)library.Export("cuStreamEndCapture");
        cuEventCreate = (delegate* unmanaged[Cdecl]<nint*, uint, int>)library.Export("cuEventCreate");
        cuEventDestroy_v2 = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuEventDestroy_v2");
        cuEventRecord = (delegate* unmanaged[Cdecl]<nint, nint, int>)library.Export("cuEventRecord");
        cuEventSynchronize = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuEventSynchronize");
        cuEventQuery = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuEventQuery");
        cuEventElapsedTime = (delegate* unmanaged[Cdecl]<float*, nint, nint, int>)library.Export("cuEventElapsedTime");
        cuModuleLoadData = (delegate* unmanaged[Cdecl]<nint*, void*, int>)library.Export("cuModuleLoadData");
        cuModuleUnload = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuModuleUnload");
        cuModuleGetFunction = (delegate* unmanaged[Cdecl]<nint*, nint, byte*, int>)library.Export("cuModuleGetFunction");
        cuFuncGetAttribute = (delegate* unmanaged[Cdecl]<int*, int, nint, int>)library.Export("cuFuncGetAttribute");
        cuFuncSetAttribute = (delegate* unmanaged[Cdecl]<nint, int, int, int>)library.Export("cuFuncSetAttribute");
        cuFuncGetParamInfo = (delegate* unmanaged[Cdecl]<nint, nuint, nuint*, nuint*, int>)library.ExportOrZero("cuFuncGetParamInfo");
        cuOccupancyMaxActiveBlocksPerMultiprocessor =
            (delegate* unmanaged[Cdecl]<int*, nint, int, nuint, int>)library.Export("cuOccupancyMaxActiveBlocksPerMultiprocessor");
        cuLaunchKernel =
            (delegate* unmanaged[Cdecl]<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)library.Export("cuLaunchKernel");
        cuGraphInstantiateWithFlags = (delegate* unmanaged[Cdecl]<nint*, nint, ulong, int>)library.Export("cuGraphInstantiateWithFlags");
        cuGraphLaunch = (delegate* unmanaged[Cdecl]<nint, nint, int>)library.Export("cuGraphLaunch");
        cuGraphGetNodes = (delegate* unmanaged[Cdecl]<nint, nint*, nuint*, int>)library.Export("cuGraphGetNodes");
        cuGraphDestroy = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuGraphDestroy");
        cuGraphExecDestroy = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cuGraphExecDestroy");
        softGetLastErrorText = (delegate* unmanaged[Cdecl]<byte*>)library.ExportOrZero("softGetLastErrorText");
        softSetLateCopies = (delegate* unmanaged[Cdecl]<int, void>)library.ExportOrZero("softSetLateCopies");
        softTrace = (delegate* unmanaged[Cdecl]<int, byte*>)library.ExportOrZero("softTrace");
        softSetScheduleSeed = (delegate* unmanaged[Cdecl]<uint, void>)library.ExportOrZero("softSetScheduleSeed");
        int status = cuInit(0);
        if (status != 0)
        {
            throw new CudaException(this, status, "cuInit", Path);
        }

        int version;
        Check(cuDriverGetVersion(&version), "cuDriverGetVersion");
        Version = new Version(version / 1000, version % 1000 / 10);
    }

    /// <summary>The file or soname that was loaded.</summary>
    public string Path { get; }

    /// <summary>The newest CUDA that the driver is for: 12.4 says 12040.</summary>
    public Version Version { get; }

    /// <summary>True for the software device.</summary>
    public bool IsSoftware => softGetLastErrorText != null;

    /// <summary>Throws when status is not 0. The text is built only then, so the call costs a comparison.</summary>
    public void Check(int status, string call)
    {
        if (status != 0)
        {
            throw new CudaException(this, status, call, "");
        }
    }

    /// <inheritdoc cref="Check(int, string)"/>
    public void Check(int status, string call, string argument, long value)
    {
        if (status != 0)
        {
            throw new CudaException(this, status, call, $"{argument} {value}");
        }
    }

    public string NameOf(int status)
    {
        byte* text = null;
        return cuGetErrorName(status, &text) == 0 ? Marshal.PtrToStringUTF8((nint)text)! : $"status {status}";
    }

    public string MeaningOf(int status)
    {
        byte* text = null;
        return cuGetErrorString(status, &text) == 0 ? Marshal.PtrToStringUTF8((nint)text)! : "no description";
    }
}
