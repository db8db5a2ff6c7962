// The CPU implementation of the op contract; each idea's part lies in its own folder, <Idea>.Cpu.cs.
namespace OrionNative.Kernels.Cpu;

/// <summary>Operations in Float32 on a thread team, on one vector path.</summary>
sealed unsafe partial class CpuOps(ThreadTeam team, VectorPath path)
{
    readonly ThreadTeam _team = team;
    readonly VectorPath _path = path;
}
