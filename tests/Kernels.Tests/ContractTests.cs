// What the op contract promises of every operation: the same bits for any number of threads, and no managed allocation.
using OrionNative.Kernels.Tests.Support;

namespace OrionNative.Kernels.Tests;

public class ContractTests
{
    public static IEnumerable<object[]> Operations => OpCases.All.Keys.Select(name => new object[] { name });

    [Fact]
    public void Operations_OfTheContract_AllHaveACase()
    {
        IEnumerable<string> operations = typeof(IOps).GetMethods().Select(method => method.Name).Where(name => !name.EndsWith("Bytes", StringComparison.Ordinal));
        Assert.Equal(operations.Order(), OpCases.All.Keys.Order());
    }

    [Theory, Devices(nameof(Operations))]
    public void Operation_OneTwoOrThreeThreads_GivesTheSameBits(string device, string operation)
    {
        List<byte[]>? expected = null;
        foreach (int threads in new[] { 1, 2, 3 })
        {
            using Workbench bench = new(device, threads);
            (Action call, Tensor[] written) = OpCases.All[operation](bench);
            call();
            call();
            List<byte[]> found = [.. written.Select(bench.Bits)];
            expected ??= found;
            for (int i = 0; i < found.Count; i++)
            {
                Assert.True(expected[i].AsSpan().SequenceEqual(found[i]), $"{operation} with {threads} threads differs from 1 thread in output {i}");
            }
        }
    }

    [Theory, Devices(nameof(Operations))]
    public void Operation_HundredCalls_AllocateNothing(string device, string operation)
    {
        using Workbench bench = new(device, threads: 2);
        (Action call, _) = OpCases.All[operation](bench);
        call();
        long HundredCalls()
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 100; i++)
            {
                call();
            }

            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        // the runtime gives a thread one small object when it first waits for another, whenever that happens to be: an
        // operation that allocates does so in the second hundred calls too
        Assert.True(HundredCalls() == 0 || HundredCalls() == 0, $"{operation} allocates {HundredCalls()} bytes in 100 calls");
    }
}
