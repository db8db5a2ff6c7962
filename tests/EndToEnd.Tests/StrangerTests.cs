// Whoever knows the address may connect with a key of his own making. Without a token he gets no file and no state, and no peer
// lets him in.
using System.Net;
using System.Text;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;
using OrionNative.Net.Identity;

namespace OrionNative.EndToEnd.Tests;

public sealed class StrangerTests
{
    [Fact]
    public async Task Stranger_WithoutAToken_GetsNoFileAndNoPeerLetsItIn()
    {
        RunConfig config = SwarmUnderTest.Small(stages: 2, replicas: 1, steps: 16) with { CheckpointEvery = 2 };
        using SwarmUnderTest run = new(config);
        run.Swarm.RehearseSeconds.Fill(0.04);
        JoinString invitation = run.Swarm.Orchestrator.Invite(1, TimeSpan.FromMinutes(1), "127.0.0.1");
        run.Start();
        run.WaitForStep(3);
        Assert.True(SwarmUnderTest.Wait(() => run.Events("CheckpointCompleted").Any(), 20), run.Logs());

        using NodeIdentity key = NodeIdentity.Create();
        using ITransportEndpoint endpoint = Endpoints.Open(key, TransportKind.Quic, new TransportOptions { Listen = new IPEndPoint(IPAddress.Loopback, 0), Admit = _ => Admission.Refuse("nobody is awaited") });
        LinkOptions options = new() { Run = PeerIds.RunOf(invitation.NodeId), Window = new DuplicateWindow() };
        Ears ear = new();
        PeerLink home = new(options, ear);
        endpoint.Dial(run.Swarm.Orchestrator.Address, invitation.NodeId, home);
        await ear.Begin.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);

        int checkpoint = (int)run.Events("CheckpointCompleted").Last()["Step"]!;
        Response file = await home.RequestAsync(new FileAsked(checkpoint, "manifest.json", 1).Encode(), TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.Equal(1, file.Status);
        Assert.Contains("is no member of this run", Encoding.UTF8.GetString(file.Body), StringComparison.Ordinal);

        PeerProfile profile = new(key.Id.ToPeerId(), PeerHost.Version, "made up", "made up", 1L << 40, 1, endpoint.LocalAddress.ToString());
        home.Tell(ControlCodec.Encode<PeerMessage>(ControlTag.FromPeer, new PeerMessage.Join(profile, "0000")));
        Assert.True(SwarmUnderTest.Wait(() => ear.Heard.Any(body => Encoding.UTF8.GetString(body).Contains("Refused", StringComparison.Ordinal)), 10));

        // the next placement tells every member the others' addresses
        run.Swarm.Orchestrator.Drain(run.Swarm.Ids[0]);
        int step = run.Step;
        run.WaitForStep(step + 2);
        string address = (string)run.Events("PeerAdmitted").First(line => (string)line["Profile"]!["Peer"]! == run.Swarm.Ids[1].ToString())["Profile"]!["Address"]!;
        Ears other = new();
        endpoint.Dial(IPEndPoint.Parse(address), run.Swarm.Ids[1].ToNodeId(), new PeerLink(options, other));
        await other.End.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.False(other.Begin.Task.IsCompletedSuccessfully, "a peer let a stranger in");
        run.WaitForEnd(60);
        run.RequireExactlyOnce(config);
    }
}
