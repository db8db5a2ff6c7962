// NCCL 2.x as function pointers, names and order as in nccl.h. ncclUniqueId travels by value: 128 bytes, on the stack.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Nccl.Interop;

/// <summary>ncclUniqueId: 128 opaque bytes, made by one rank and carried to the others.</summary>
[StructLayout(LayoutKind.Sequential, Size = 128)]
unsafe struct ncclUniqueId
{
    public fixed byte Internal[128];
}

sealed unsafe class Nccl
{
    public readonly delegate* unmanaged[Cdecl]<int*, int> ncclGetVersion;
    public readonly delegate* unmanaged[Cdecl]<ncclUniqueId*, int> ncclGetUniqueId;
    public readonly delegate* unmanaged[Cdecl]<nint*, int, ncclUniqueId, int, int> ncclCommInitRank;
    public readonly delegate* unmanaged[Cdecl]<nint, int> ncclCommDestroy;
    public readonly delegate* unmanaged[Cdecl]<nint, int> ncclCommAbort;
    public readonly delegate* unmanaged[Cdecl]<nint, int*, int> ncclCommGetAsyncError;
    public readonly delegate* unmanaged[Cdecl]<int, byte*> ncclGetErrorString;
    public readonly delegate* unmanaged[Cdecl]<nint, byte*> ncclGetLastError;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int> ncclAllReduce;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int> ncclReduceScatter;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nuint, int, nint, nint, int> ncclAllGather;
    public readonly delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int> ncclBroadcast;
    public readonly delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int> ncclSend;
    public readonly delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int> ncclRecv;
    public readonly delegate* unmanaged[Cdecl]<int> ncclGroupStart;
    public readonly delegate* unmanaged[Cdecl]<int> ncclGroupEnd;

    /// <exception cref="EntryPointNotFoundException">The library is older than 2.13, which brought ncclGetLastError.</exception>
    public Nccl(nint library)
    {
        nint Export(string name) => NativeLibrary.GetExport(library, name);
        ncclGetVersion = (delegate* unmanaged[Cdecl]<int*, int>)Export("ncclGetVersion");
        ncclGetUniqueId = (delegate* unmanaged[Cdecl]<ncclUniqueId*, int>)Export("ncclGetUniqueId");
        ncclCommInitRank = (delegate* unmanaged[Cdecl]<nint*, int, ncclUniqueId, int, int>)Export("ncclCommInitRank");
        ncclCommDestroy = (delegate* unmanaged[Cdecl]<nint, int>)Export("ncclCommDestroy");
        ncclCommAbort = (delegate* unmanaged[Cdecl]<nint, int>)Export("ncclCommAbort");
        ncclCommGetAsyncError = (delegate* unmanaged[Cdecl]<nint, int*, int>)Export("ncclCommGetAsyncError");
        ncclGetErrorString = (delegate* unmanaged[Cdecl]<int, byte*>)Export("ncclGetErrorString");
        ncclGetLastError = (delegate* unmanaged[Cdecl]<nint, byte*>)Export("ncclGetLastError");
        ncclAllReduce = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)Export("ncclAllReduce");
        ncclReduceScatter = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)Export("ncclReduceScatter");
        ncclAllGather = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, nint, nint, int>)Export("ncclAllGather");
        ncclBroadcast = (delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)Export("ncclBroadcast");
        ncclSend = (delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)Export("ncclSend");
        ncclRecv = (delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)Export("ncclRecv");
        ncclGroupStart = (delegate* unmanaged[Cdecl]<int>)Export("ncclGroupStart");
        ncclGroupEnd = (delegate* unmanaged[Cdecl]<int>)Export("ncclGroupEnd");
    }
}
