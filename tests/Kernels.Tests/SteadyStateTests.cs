// What a training step repeats allocates no managed memory on any thread. These tests run alone: the counter is the process's.
using OrionNative.Kernels.Cpu;

namespace OrionNative.Kernels.Tests;

[CollectionDefinition("Alone", DisableParallelization = true)]
public sealed class Alone;

[Collection("Alone")]
public sealed unsafe class SteadyStateTests
{
    [Fact]
    public void Product_InSteadyState_AllocatesNothing()
    {
        using NativeMatrix a = new(40, 70, 1), b = new(90, 70, 2), c = new(40, 90, 3);
        using CpuOps ops = new(new ThreadTeam(2), VectorPathChoice.Widest);
        for (int i = 0; i < 50; i++)
        {
            ops.MatrixProduct(a.View, false, b.View, true, c.View, 1, 0);
        }

        long before = GC.GetTotalAllocatedBytes(precise: true);
        for (int i = 0; i < 100; i++)
        {
            ops.MatrixProduct(a.View, false, b.View, true, c.View, 1, 0);
        }

        Assert.Equal(0, GC.GetTotalAllocatedBytes(precise: true) - before);
    }

    [Fact]
    public void Run_InSteadyState_AllocatesNothing()
    {
        using ThreadTeam team = new(2);
        int done = 0;
        for (int i = 0; i < 10; i++)
        {
            team.Run(8, &done, &Count);
            Thread.Sleep(1);
        }

        long before = GC.GetTotalAllocatedBytes(precise: true);
        for (int i = 0; i < 1000; i++)
        {
            team.Run(8, &done, &Count);
        }

        Assert.Equal(0, GC.GetTotalAllocatedBytes(precise: true) - before);

        static void Count(void* state, int item) => Interlocked.Increment(ref *(int*)state);
    }
}
