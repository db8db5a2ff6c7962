// cuBLASLt as function pointers, with the enumerations and the one structure that the bindings use.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda.Interop;

/// <summary>cublasLtMatmulAlgo_t: opaque, 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Size = 64)]
unsafe struct CublasLtAlgorithm
{
    public fixed ulong Data[8];
}

/// <summary>cublasLtMatmulHeuristicResult_t: 96 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
unsafe struct CublasLtHeuristic
{
    public CublasLtAlgorithm Algorithm;
    public nuint WorkspaceBytes;
    public int Status;
    public float Waves;
    public fixed int Reserved[4];
}

sealed unsafe class CublasLtLibrary
{
    public const int Real32F = 0;
    public const int Real16BF = 14;
    public const int Compute32F = 68;
    public const int DescriptionTransposeA = 3;
    public const int DescriptionTransposeB = 4;
    public const int DescriptionEpilogue = 7;
    public const int EpilogueDefault = 1, EpilogueRelu = 2;
    public const int PreferenceWorkspaceBytes = 1;
    public const int PreferenceAlignmentA = 5;
    public const int PreferenceAlignmentD = 8;

    public readonly delegate* unmanaged[Cdecl]<nuint> cublasLtGetVersion;
    public readonly delegate* unmanaged[Cdecl]<int, byte*> cublasLtGetStatusName;
    public readonly delegate* unmanaged[Cdecl]<int, byte*> cublasLtGetStatusString;
    public readonly delegate* unmanaged[Cdecl]<nint*, int> cublasLtCreate;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cublasLtDestroy;
    public readonly delegate* unmanaged[Cdecl]<nint*, int, int, int> cublasLtMatmulDescCreate;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cublasLtMatmulDescDestroy;
    public readonly delegate* unmanaged[Cdecl]<nint, int, void*, nuint, int> cublasLtMatmulDescSetAttribute;
    public readonly delegate* unmanaged[Cdecl]<nint*, int, ulong, ulong, long, int> cublasLtMatrixLayoutCreate;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cublasLtMatrixLayoutDestroy;
    public readonly delegate* unmanaged[Cdecl]<nint*, int> cublasLtMatmulPreferenceCreate;
    public readonly delegate* unmanaged[Cdecl]<nint, int> cublasLtMatmulPreferenceDestroy;
    public readonly delegate* unmanaged[Cdecl]<nint, int, void*, nuint, int> cublasLtMatmulPreferenceSetAttribute;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nint, nint, nint, nint, nint, int, CublasLtHeuristic*, int*, int> cublasLtMatmulAlgoGetHeuristic;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, void*, ulong, nint, ulong, nint, void*, ulong, nint, ulong, nint, CublasLtAlgorithm*, ulong, nuint, nint, int> cublasLtMatmul;

    public CublasLtLibrary(LoadedLibrary library)
    {
        Path = library.Path;
        cublasLtGetVersion = (delegate* unmanaged[Cdecl]<nuint>)library.Export("cublasLtGetVersion");
        cublasLtGetStatusName = (delegate* unmanaged[Cdecl]<int, byte*>)library.Export("cublasLtGetStatusName");
        cublasLtGetStatusString = (delegate* unmanaged[Cdecl]<int, byte*>)library.Export("cublasLtGetStatusString");
        cublasLtCreate = (delegate* unmanaged[Cdecl]<nint*, int>)library.Export("cublasLtCreate");
        cublasLtDestroy = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cublasLtDestroy");
        cublasLtMatmulDescCreate = (delegate* unmanaged[Cdecl]<nint*, int, int, int>)library.Export("cublasLtMatmulDescCreate");
        cublasLtMatmulDescDestroy = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cublasLtMatmulDescDestroy");
        cublasLtMatmulDescSetAttribute = (delegate* unmanaged[Cdecl]<nint, int, void*, nuint, int>)library.Export("cublasLtMatmulDescSetAttribute");
        cublasLtMatrixLayoutCreate = (delegate* unmanaged[Cdecl]<nint*, int, ulong, ulong, long, int>)library.Export("cublasLtMatrixLayoutCreate");
        cublasLtMatrixLayoutDestroy = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cublasLtMatrixLayoutDestroy");
        cublasLtMatmulPreferenceCreate = (delegate* unmanaged[Cdecl]<nint*, int>)library.Export("cublasLtMatmulPreferenceCreate");
        cublasLtMatmulPreferenceDestroy = (delegate* unmanaged[Cdecl]<nint, int>)library.Export("cublasLtMatmulPreferenceDestroy");
        cublasLtMatmulPreferenceSetAttribute = (delegate* unmanaged[Cdecl]<nint, int, void*, nuint, int>)library.Export("cublasLtMatmulPreferenceSetAttribute");
        cublasLtMatmulAlgoGetHeuristic =
            (delegate* unmanaged[Cdecl]<nint, nint, nint, nint, nint, nint, nint, int, CublasLtHeuristic*, int*, int>)library.Export("cublasLtMatmulAlgoGetHeuristic");
        cublasLtMatmul =
            (delegate* unmanaged[Cdecl]<nint, nint, void*, ulong, nint, ulong, nint, void*, ulong, nint, ulong, nint, CublasLtAlgorithm*, ulong, nuint, nint, int>)library.Export("cublasLtMatmul");
    }

    public string Path { get; }

    /// <summary>Such as 120803 for 12.8.3.</summary>
    public long Version => (long)cublasLtGetVersion();

    public string NameOf(int status) => Marshal.PtrToStringUTF8((nint)cublasLtGetStatusName(status)) ?? $"status {status}";

    public string MeaningOf(int status) => Marshal.PtrToStringUTF8((nint)cublasLtGetStatusString(status)) ?? "no description";
}
