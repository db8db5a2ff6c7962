// A peer's key belongs to one process. A --state folder that was copied makes two of them: each would replace the other's link
// and its membership without end. The one that is there stays, the other is told why; one that comes back is let in at once.
using System.Diagnostics;
using System.Net;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;

namespace OrionNative.EndToEnd.Tests;

public sealed class OneKeyTests : IDisposable
{
    readonly TemporaryFolder _folder = new();
    readonly SwarmOfMachines _swarm;

    public OneKeyTests()
    {
        if (QuicLibrary.NotSupportedReason is { } reason)
        {
            Assert.Skip($"{reason} Run this through ./orion test");
        }

        _swarm = new SwarmOfMachines(_folder);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 300).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
    }

    int Joined => _swarm.Log.Split(" joined from ").Length - 1;

    [Fact]
    public void StateFolder_CopiedToAnotherMachine_SecondIsRefusedAndARestartIsNot()
    {
        _swarm.Orchestrate("--data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --boundary none --steps 2 --stages 2 --token-uses 2 --out far");
        Process first = _swarm.Join("a", "--speed 1");
        Assert.True(SwarmUnderTest.Wait(() => Joined == 1, 60), _swarm.Log);
        string state = Directory.GetDirectories(_swarm.Machine("a")).Single();
        string copy = Directory.CreateDirectory(Path.Combine(_folder.Path, "copy")).FullName;
        foreach (string file in Directory.GetFiles(state).Where(file => Path.GetFileName(file) != "lock"))
        {
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        }

        EngineResult second = EngineProcess.Run(_folder.Path, "join", _swarm.JoinUrl, "--state", "copy", "--listen", "127.0.0.1:0", "--threads", "1", "--speed", "1", "--json");
        Assert.Equal(1, second.Status);
        Assert.Contains("has the same key. A --state folder was copied", second.Error, StringComparison.Ordinal);
        Assert.Contains("has the same key", (string?)second.Json["error"], StringComparison.Ordinal);
        Assert.True(SwarmUnderTest.Wait(() => _swarm.Log.Contains("its --state folder was copied", StringComparison.Ordinal), 10), _swarm.Log);
        Assert.False(first.HasExited);
        Assert.DoesNotContain("left:", _swarm.Log);

        first.Kill();
        first.WaitForExit();
        Process again = _swarm.Join("a", "--speed 1");
        Assert.True(SwarmUnderTest.Wait(() => Joined == 2, 60), _swarm.Log);
        Process other = _swarm.Join("b", "--speed 1");
        Assert.True(_swarm.StatusOf(_swarm.Orchestrator) == 0, _swarm.Log);
        Assert.Equal(0, _swarm.StatusOf(again));
        Assert.Equal(0, _swarm.StatusOf(other));
    }

    // The peer's loop does not run here: nothing that is said to it is heard.
    [Fact]
    public async Task Neighbour_SaysMoreThanTheLoopHears_IsCutOff()
    {
        using NodeIdentity key = NodeIdentity.Create(), home = NodeIdentity.Create(), liar = NodeIdentity.Create();
        IPEndPoint anywhere = new(IPAddress.Loopback, 0);
        using PeerHost peer = new(new PeerHostOptions(new JoinString(home.Id, "127.0.0.1", 9, "token"), key, anywhere, null, "cpu", 1, 0, _folder.Path, _ => { }));
        LinkOptions options = new() { Run = PeerIds.RunOf(home.Id), Window = new DuplicateWindow() };
        Ears heard = new();
        System.Collections.Concurrent.ConcurrentQueue<string> lines = new();
        using ITransportEndpoint server = Endpoints.Open(key, TransportKind.Quic, new TransportOptions { Listen = anywhere, Admit = _ => Admission.Accept(new PeerLink(options, peer.Neighbour())), Log = lines.Enqueue });
        using ITransportEndpoint endpoint = Endpoints.Open(liar, TransportKind.Quic, new TransportOptions { Listen = anywhere });
        PeerLink link = new(options, heard);
        endpoint.Dial(server.LocalAddress, key.Id, link);
        await heard.Begin.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        byte[] word = new byte[ControlCodec.WorkBytes];
        ControlCodec.Encode(new WorkMessage(WorkKind.Status, default), word);
        for (int i = 0; i < WordQuota.WaitingMost; i++)
        {
            link.Tell(word);
        }

        await Task.Delay(500, TestContext.Current.CancellationToken);
        Assert.False(heard.End.Task.IsCompleted);
        link.Tell(word);
        await heard.End.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.Contains(lines, line => line.Contains($"words of {liar.Id.ToPeerId().Short} wait to be heard", StringComparison.Ordinal));
    }

    public void Dispose()
    {
        _swarm?.Dispose();
        _folder.Dispose();
    }
}
