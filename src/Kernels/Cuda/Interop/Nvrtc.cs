// NVRTC as function pointers. It compiles CUDA C++ to a cubin and needs neither a GPU nor a driver for that.
using System.Runtime.InteropServices;

namespace OrionNative.Kernels.Cuda.Interop;

sealed unsafe class Nvrtc
{
    public readonly delegate* unmanaged[Cdecl]<int*, int*, int> nvrtcVersion;
    public readonly delegate* unmanaged[Cdecl]<int, byte*> nvrtcGetErrorString;
    public readonly delegate* unmanaged[Cdecl]<nint*, byte*, byte*, int, byte**, byte**, int> nvrtcCreateProgram;
    public readonly delegate* unmanaged[Cdecl]<nint*, int> nvrtcDestroyProgram;
    public readonly delegate* unmanaged[Cdecl]<nint, int, byte**, int> nvrtcCompileProgram;
    public readonly delegate* unmanaged[Cdecl]<nint, nuint*, int> nvrtcGetProgramLogSize;
    public readonly delegate* unmanaged[Cdecl]<nint, byte*, int> nvrtcGetProgramLog;
    public readonly delegate* unmanaged[Cdecl]<nint, nuint*, int> nvrtcGetCUBINSize;
    public readonly delegate* unmanaged[Cdecl]<nint, byte*, int> nvrtcGetCUBIN;
    readonly delegate* unmanaged[Cdecl]<byte*> _softNvrtcFingerprint;

    public Nvrtc(LoadedLibrary library)
    {
        Path = library.Path;
        nvrtcVersion = (delegate* unmanaged[Cdecl]<int*, int*, int>)library.Export("nvrtcVersion");
        nvrtcGetErrorString = (delegate* unmanaged[Cdecl]<int, byte*>)library.Export("nvrtcGetErrorString");
        nvrtcCreateProgram = (delegate* unmanaged[Cdecl]<nint*, byte*, byte*, int, byte**, byte**, int>)library.Export("nvrtcCreateProgram");
        nvrtcDestroyProgram = (delegate* unmanaged[Cdecl]<nint*, int>)library.Export("nvrtcDestroyProgram");
        nvrtcCompileProgram = (delegate* unmanaged[Cdecl]<nint, int, byte**, int>)library.Export("nvrtcCompileProgram");
        nvrtcGetProgramLogSize = (delegate* unmanaged[Cdecl]<nint, nuint*, int>)library.Export("nvrtcGetProgramLogSize");
        nvrtcGetProgramLog = (delegate* unmanaged[Cdecl]<nint, byte*, int>)library.Export("nvrtcGetProgramLog");
        nvrtcGetCUBINSize = (delegate* unmanaged[Cdecl]<nint, nuint*, int>)library.Export("nvrtcGetCUBINSize");
        nvrtcGetCUBIN = (delegate* unmanaged[Cdecl]<nint, byte*, int>)library.Export("nvrtcGetCUBIN");
        _softNvrtcFingerprint = (delegate* unmanaged[Cdecl]<byte*>)library.ExportOrZero("softNvrtcFingerprint");
        int major, minor;
        Check(nvrtcVersion(&major, &minor), "nvrtcVersion");
        Version = new Version(major, minor);
    }

    public string Path { get; }

    public Version Version { get; }

    public bool IsSoftware => _softNvrtcFingerprint != null;

    /// <summary>What decides the code besides source and options.</summary>
    public string Fingerprint =>
        IsSoftware ? Marshal.PtrToStringUTF8((nint)_softNvrtcFingerprint())! : $"nvrtc {Version}";

    /// <summary>Throws when status is not 0; NVRTC's own text is name and meaning in one.</summary>
    public void Check(int status, string call, string argument = "")
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{call}({argument}) failed: {NameOf(status)} ({status}), library {Path}");
        }
    }

    public string NameOf(int status) => Marshal.PtrToStringUTF8((nint)nvrtcGetErrorString(status)) ?? "unknown";
}
