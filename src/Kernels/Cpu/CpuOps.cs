// The CPU implementation of the op contract; each idea's part lies in its own folder, <Idea>.Cpu.cs. A kernel is a static
// body, generic over the vector, that the team runs over items; an item is a fixed block of the work (rows, columns or
// elements), so neither the number of threads nor their speed can change a result. Partial sums lie in the workspace, native
// memory that grows when a larger shape first appears and is then kept: no call allocates managed memory.

namespace OrionNative.Kernels.Cpu;

/// <summary>Operations in Float32 on a thread team, which it disposes, on one vector path.</summary>
sealed unsafe partial class CpuOps(ThreadTeam team, VectorPath path) : IOps, IDisposable
{
    readonly ThreadTeam _team = team;
    readonly VectorPath _path = path;
    void* _workspace;
    nuint _workspaceBytes;

    public long WorkspaceBytes => (long)_workspaceBytes + _product.Bytes;

    /// <summary>At least this many bytes, not cleared, until the next call of any operation.</summary>
    void* Workspace(long bytes)
    {
        if ((nuint)bytes > _workspaceBytes)
        {
            CpuMemory.Free(_workspace);
            _workspace = null;
            _workspaceBytes = 0;
            _workspace = CpuMemory.Allocate(bytes);
            _workspaceBytes = (nuint)bytes;
        }

        return _workspace;
    }

    /// <summary>Runs the body that belongs to the vector path.</summary>
    void Run(int items, void* state, delegate*<void*, int, void> narrow, delegate*<void*, int, void> middle, delegate*<void*, int, void> wide) =>
        _team.Run(items, state, _path switch
        {
            VectorPath.Vector512 => wide,
            VectorPath.Vector256 => middle,
            _ => narrow,
        });

    static int DivideUp(long count, long size) => (int)((count + size - 1) / size);

    public void Dispose()
    {
        CpuMemory.Free(_workspace);
        _workspace = null;
        _workspaceBytes = 0;
        _product.Dispose();
        _team.Dispose();
    }
}
