// Anybody who reaches an orchestrator's port and makes a key can speak to it. Without a token such a stranger learns nothing of
// the run, is named to no peer, and can say nothing that ends the run for the others.
using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;
using OrionNative.Net.Quic;

namespace OrionNative.EndToEnd.Tests;

public sealed class HostileWordsTests : IDisposable
{
    static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    readonly TemporaryFolder _folder = new();
    readonly SwarmOfMachines _swarm;
    readonly NodeIdentity _key = NodeIdentity.Create();

    public HostileWordsTests()
    {
        if (QuicLibrary.NotSupportedReason is { } reason)
        {
            Assert.Skip($"{reason} Run this through ./orion test");
        }

        _swarm = new SwarmOfMachines(_folder);
        _folder.File("text.txt", string.Concat(Enumerable.Range(0, 300).Select(i => $"line {i % 97}: the quick brown fox jumps over dog {i % 13}.\n")));
    }

    [Fact]
    public async Task Stranger_WithAKeyAndNoToken_LearnsNothingAndHarmsNobody()
    {
        Process orchestrator = _swarm.Orchestrate("--data text.txt --sequence 32 --microbatch-size 2 --microbatches 4 --seed 7 --boundary none --steps 2 --stages 2 --out far");
        Assert.True(JoinString.TryParse(_swarm.JoinUrl, out JoinString? join, out _));
        using ITransportEndpoint endpoint = Endpoints.Open(_key, TransportKind.Quic, new TransportOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0) });
        IPEndPoint address = Endpoints.Resolve(join.Host, join.Port, endpoint.LocalAddress);
        LinkOptions options = new() { Run = PeerIds.RunOf(join.NodeId), Window = new DuplicateWindow() };
        PeerId self = _key.Id.ToPeerId();
        PeerProfile profile = new(self, PeerHost.Version, "model", "tokenizer", 1, 1, "127.0.0.1:9");

        await Speak(async link =>
        {
            Assert.Contains("not one of this run", await Refused(link, [(byte)ControlTag.Describe, .. "guess"u8]));
            Assert.Contains("is no member of this run", await Refused(link, new FileAsked(0, "manifest.json", 1).Encode()));
            Assert.Contains("does not hold stage", await Refused(link, new FileOffered(1, 1, 0, "a", 1, "", 1).Encode()));
            link.Tell(ControlCodec.Encode(ControlTag.FromPeer, new PeerMessage.Join(profile, "guess")));
            await Refused(link, [(byte)ControlTag.Describe]);
        });

        Process[] peers = [_swarm.Join("a", "--speed 1")];
        Assert.True(SwarmUnderTest.Wait(() => _swarm.Log.Contains(" joined from ", StringComparison.Ordinal), _patience.TotalSeconds), _swarm.Log);
        foreach (string said in (string[])
        [
            """{"kind":"Join","body":{}}""",
            """{"kind":"Join","body":{"Profile":null,"Token":null}}""",
            """{"kind":"Join","body":{"Profile":{"Peer":"","Version":null,"ModelHash":"","TokenizerHash":"","MemoryBytes":0,"Speed":0,"Address":null},"Token":""}}""",
            ControlCodec.Text(new PeerMessage.Join(profile with { Address = new string('9', 60_000) }, "guess")),
            ControlCodec.Text(new PeerMessage.Join(profile with { Peer = PeerId.FromNumber(1) }, "guess")),
            """{"kind":"CheckpointWritten","body":{"AdmittedEpoch":1,"Step":1,"Stage":0},"beside":{"files":[1,null,{}]}}""",
            """{"kind":"Hello","body":{"AdmittedEpoch":1,"HasState":true,"Report":null}}""",
            """{"kind":"Hello","body":{"AdmittedEpoch":1,"HasState":true,"Report":{"Step":1,"Generation":0,"Contributed":[2000000000],"Losses":null,"Held":[-1]}}}""",
            "[]",
        ])
        {
            await Speak(async link =>
            {
                link.Tell([(byte)ControlTag.FromPeer, .. Encoding.UTF8.GetBytes(said)]);
                try
                {
                    await Refused(link, [(byte)ControlTag.Describe]);
                }
                catch (IOException)
                {
                    // cut off for what it said
                }
            });
            Assert.False(orchestrator.HasExited, $"{said}\n{_swarm.Log}");
        }

        // the peer has been told who else there is: the stranger, who asked before, is not among them
        IPEndPoint peer = IPEndPoint.Parse(Regex.Match(_swarm.Log, @"joined from (\S+)").Groups[1].Value);
        NodeId id = NodeIdentity.LoadOrCreate(Path.Combine(_swarm.Machine("a"), "state")).Id;
        Ears ears = new();
        endpoint.Dial(peer, id, new PeerLink(options, ears));
        Assert.Equal(CloseKind.Refused, (await ears.End.Task.WaitAsync(_patience, TestContext.Current.CancellationToken)).Kind);

        peers = [.. peers, _swarm.Join("b", "--speed 1")];
        Assert.True(_swarm.StatusOf(orchestrator) == 0, _swarm.Log);
        Assert.All(peers, process => Assert.Equal(0, _swarm.StatusOf(process, 20)));

        async Task Speak(Func<PeerLink, Task> what)
        {
            Ears heard = new();
            PeerLink link = new(options, heard);
            endpoint.Dial(address, join.NodeId, link);
            await heard.Begin.Task.WaitAsync(_patience, TestContext.Current.CancellationToken);
            await what(link);
            link.Close("said what there was to say");
            await heard.End.Task.WaitAsync(_patience, TestContext.Current.CancellationToken);
        }
    }

    static async Task<string> Refused(PeerLink link, byte[] body)
    {
        Response response = await link.RequestAsync(body, _patience, TestContext.Current.CancellationToken);
        Assert.NotEqual(0, response.Status);
        return Encoding.UTF8.GetString(response.Body);
    }

    public void Dispose()
    {
        _swarm?.Dispose();
        _key.Dispose();
        _folder.Dispose();
    }
}
