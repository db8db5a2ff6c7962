// A run of a thousand peers, as its orchestrator decides it and as it goes over the wire: every message of a step is made by the
// codec that the processes use, must fit into one control frame, and must tell its receiver what it needs.
using System.Net;
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Tests.Swarm;

public class ThousandPeersTests
{
    const string Token = "a secret";

    readonly Dictionary<PeerId, List<OrchestratorMessage>> _heard = [];
    readonly Dictionary<PeerId, IPEndPoint> _told = [];
    Orchestrator _core = null!;
    readonly Instant _now = Instant.FromSeconds(1);
    int _longest;

    [Theory]
    [InlineData(16, 63, 256)]
    [InlineData(3, 334, 1024)]   // everybody is everybody's neighbour
    public void Step_OfAThousandPeers_EveryMessageFitsAndTellsWhatIsNeeded(int stages, int replicas, int microbatches)
    {
        int count = stages * replicas;
        Begin(stages, replicas, microbatches);
        PeerId[] peers = [.. Enumerable.Range(0, count).Select(PeerId.FromNumber)];
        foreach (PeerId peer in peers)
        {
            Say(peer, new PeerMessage.Join(new PeerProfile(peer, "1", "m", "t", 1L << 40, 1, ""), Token));
        }

        Assert.Equal(RunPhase.Loading, _core.Phase);
        foreach (PeerId peer in peers)
        {
            OrchestratorMessage.LoadState load = _heard[peer].OfType<OrchestratorMessage.LoadState>().Last();
            Say(peer, new PeerMessage.StateLoaded(load.AdmittedEpoch, load.Step));
        }

        Assert.Equal(RunPhase.Running, _core.Phase);
        foreach (PeerId peer in peers)
        {
            Placement near = _heard[peer].OfType<OrchestratorMessage.Placed>().Last().Placement;
            Assert.True(near.TryFind(peer, out Member self));
            Assert.Equal(_core.Placement.Members.Where(member => Math.Abs(member.Stage - self.Stage) <= 1), near.Members);
            Assert.Equal(count, near.Members.Length + near.ElsewhereCount);
            Assert.False(near.IsOnePath);
        }

        Assert.Equal(count, _told.Count);
        for (int stage = 0; stage < stages; stage++)
        {
            PeerId[] holders = [.. _core.Placement.Holders(stage).Select(member => member.Peer)];
            for (int m = 0; m < microbatches; m++)
            {
                Say(holders[m % replicas], new PeerMessage.Contributed(1, 0, m, 2));
            }
        }

        Assert.Equal(RunPhase.Reducing, _core.Phase);
        foreach (Member member in _core.Placement.Members)
        {
            OrchestratorMessage.Reduce reduce = _heard[member.Peer].OfType<OrchestratorMessage.Reduce>().Single();
            Assert.All(reduce.Shares, share => Assert.Equal(member.Stage, share.Stage));
            Assert.Equal(microbatches, reduce.Shares.Sum(share => share.Microbatches.Count));
            Say(member.Peer, new PeerMessage.Reduced(1, reduce.ReduceId, [.. Enumerable.Repeat(0.5, 64)]));
        }

        Assert.Equal(1, _core.CommittedStep);
        Do(new OrchestratorEvent.Disconnected(peers[0], IsGone: true));
        Assert.InRange(_longest, 1000, PeerLink.WordBytesMax);
    }

    [Theory]
    [InlineData(16, 63, 5000, "")]
    [InlineData(2, 500, 4000, "")]
    [InlineData(1, 1000, 5000, "")]
    [InlineData(4, 250, 4000, "")]
    [InlineData(4, 400, 100, "links")]
    [InlineData(1, 2000, 2000, "links")]
    [InlineData(1, 1000, 12000, "gradient shares has up to")]
    [InlineData(2, 1, 8000, "report")]
    [InlineData(2, 1, 100_000, "at most 65536")]
    public void Shape_ThatDoesNotFit_IsRefusedWithNumbers(int stages, int replicas, int microbatches, string refusal)
    {
        RunConfig config = new() { Stages = stages, Replicas = replicas, Microbatches = microbatches };
        Exception? error = Record.Exception(() => ControlLimits.Check(config, ModelPresets.Get("orion-100b")));
        Assert.Equal(refusal.Length > 0, error is ConfigurationException);
        Assert.Contains(refusal, error?.Message ?? "", StringComparison.Ordinal);
    }

    void Begin(int stages, int replicas, int microbatches)
    {
        _core = new Orchestrator(new ControlSettings
        {
            Version = "1",
            ModelHash = "m",
            TokenizerHash = "t",
            StageCount = stages,
            ReplicaCount = replicas,
            MicrobatchCount = microbatches,
            StepCount = 3,
            Model = ModelCosts.Even(stages),
            GrantWindow = stages + 6,
        });
        Do(new OrchestratorEvent.Started());
        Do(new OrchestratorEvent.TokenIssued(JoinTokens.Hash(Token), int.MaxValue, ExpiresUnixSeconds: 1000));
    }

    void Say(PeerId peer, PeerMessage message)
    {
        byte[] wire = ControlCodec.Encode(ControlTag.FromPeer, message);
        Fits(wire);
        Do(new OrchestratorEvent.Received(peer, ControlCodec.Decode<PeerMessage>(wire.AsSpan(1)).Message, 10));
    }

    void Do(OrchestratorEvent input)
    {
        foreach (OrchestratorEffect.Send send in _core.Step(input, _now).OfType<OrchestratorEffect.Send>())
        {
            if (send.Message is OrchestratorMessage.Grant or OrchestratorMessage.Holding)
            {
                continue;
            }

            byte[] wire = ControlCodec.EncodeToPeer(send.Message, peer => $"[2001:db8::{peer.GetHashCode() & 0xffff:x}]:4433");
            Fits(wire);
            if (!_heard.TryGetValue(send.Peer, out List<OrchestratorMessage>? heard))
            {
                _heard[send.Peer] = heard = [];
            }

            heard.Add((ControlTag)wire[0] switch
            {
                ControlTag.Placement => ControlCodec.DecodePlacement(wire, _told),
                ControlTag.Reduce => ControlCodec.DecodeReduce(wire),
                _ => ControlCodec.Decode<OrchestratorMessage>(wire.AsSpan(1)).Message,
            });
        }
    }

    void Fits(byte[] wire)
    {
        _longest = Math.Max(_longest, wire.Length);
        Assert.InRange(wire.Length, 1, PeerLink.WordBytesMax);
    }
}
