// The frame of every abuse: an honest peer works on a second connection, the abuse happens, and then the log names the offender,
// the honest peer has gone on, the process lives and its memory has grown by a bounded amount.
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Tests.Links;

namespace OrionNative.Net.Tests.Abuse;

public abstract class AbuseCase(AbusedServer server) : IDisposable
{
    // An attacker may make a link keep its granted slots (6 x 60 KB), its control rings (256 KiB each way) and, over TCP, 1024
    // chunks of 64 KiB; the rest is what the collector and malloc keep beyond that.
    const long GrowthBytesMax = 96 << 20;

    protected static readonly TimeSpan Soon = TimeSpan.FromSeconds(30);

    protected AbusedServer Server => server;

    protected NodeIdentity Attacker { get; } = NodeIdentity.Create();

    public void Dispose()
    {
        Attacker.Dispose();
        GC.SuppressFinalize(this);
    }

    protected async Task WithstandAsync(TransportKind kind, string expected, string offender, Func<Task> abuse)
    {
        LinkedPair.SkipWithout(kind);
        using var honest = new HonestPeer(server, kind);
        await honest.MoreAsync(5).WaitAsync(Soon);
        (long bytes, long from, long accepted) = (server.ResidentBytes, server.LogBytes, honest.Accepted);
        Task goesOn = honest.MoreAsync(20);
        await abuse();
        string line = await LineAsync(from, expected);
        Assert.True(line.Contains(offender), $"the line does not name the offender {offender}: {line}");
        await goesOn.WaitAsync(Soon);
        Assert.True(server.IsAlive);
        long growth = server.ResidentBytes - bytes;
        Assert.True(growth < GrowthBytesMax, $"resident memory grew by {growth >> 20} MiB");
        TestContext.Current.TestOutputHelper?.WriteLine($"honest peer: {honest.Accepted - accepted} messages meanwhile; memory {growth >> 10} KiB; {line}");
    }

    protected async Task<string> LineAsync(long from, string part)
    {
        for (int i = 0; i < 1000; i++)
        {
            if (server.Log(from).Split('\n').FirstOrDefault(line => line.Contains(part)) is { } found) return found;
            await Task.Delay(10);
        }
        throw new TimeoutException($"no line says '{part}'; there are:\n{server.Log(from)}");
    }
}
