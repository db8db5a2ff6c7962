// One body of tests for every device: a theory with [Devices] runs once on each device that this machine has. A device is
// named by a string, so that the test explorer and a failure name it.
using System.Reflection;
using OrionNative.Kernels.Cpu;
using Xunit.Sdk;
using Xunit.v3;

namespace OrionNative.Kernels.Tests.Support;

/// <summary>Yields the names of the devices, optionally each combined with the rows of a static member of the test class.</summary>
sealed class DevicesAttribute(string? cases = null) : DataAttribute
{
    public override ValueTask<IReadOnlyCollection<ITheoryDataRow>> GetData(MethodInfo testMethod, DisposalTracker disposalTracker)
    {
        List<ITheoryDataRow> rows = [];
        IEnumerable<object[]> others = cases is null
            ? [[]]
            : ((IEnumerable<object[]>)testMethod.DeclaringType!.GetProperty(cases, BindingFlags.Static | BindingFlags.Public)!.GetValue(null)!);
        foreach (string device in Devices.Names)
        {
            rows.AddRange(others.Select(values => new TheoryDataRow([device, .. values])));
        }

        return new(rows);
    }

    public override bool SupportsDiscoveryEnumeration() => true;
}

static class Devices
{
    /// <summary>Every device that this machine can run.</summary>
    public static IEnumerable<string> Names =>
        Enum.GetValues<VectorPath>().Where(path => path <= VectorPathChoice.Widest).Select(path => $"cpu-{(int)path}");

    /// <summary>Opens a device by its name.</summary>
    public static IDevice Open(string name, int threads) => name.StartsWith("cpu-", StringComparison.Ordinal)
        ? new CpuDevice(threads, Enum.Parse<VectorPath>(name[4..]))
        : throw new ArgumentException($"no device is called {name}", nameof(name));
}
