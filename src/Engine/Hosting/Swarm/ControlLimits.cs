// What grows with a run's stages, replicas and microbatches must fit: each message into one control frame, the links of a peer
// into its endpoint. The largest of each kind are made here and measured, by the codec that will make them.
//   placement   the members of three stages, with IPv6 addresses          reduction   a stage's shares, and each microbatch in one
//   report      what a peer of the last stage says when it is back        squares     one number a tensor of a stage
// Invariant: a run that passes has no message that cannot be sent; one that does not is refused before anything is written.
using System.Collections.Immutable;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

static class ControlLimits
{
    static readonly int _linksMost = new TransportOptions().ConnectionsMax;

    /// <summary>Peers that the orchestrator takes.</summary>
    public static int PeersMost(RunConfig config) => config.Stages * HoldersMost(config);

    static int HoldersMost(RunConfig config) => config.Replicas + ControlSettings.SpareReplicas;

    /// <exception cref="ConfigurationException">Names what does not fit, by how much, and what to lower.</exception>
    public static void Check(RunConfig config, ModelConfig model)
    {
        int near = Math.Min(3, config.Stages) * HoldersMost(config);
        if (near > _linksMost)
        {
            throw new ConfigurationException($"replicas {config.Replicas}: with {ControlSettings.SpareReplicas} spare ones a peer would have links to {near} others, those of its own stage and of the ones beside it; a peer has at most {_linksMost} links; have more stages of fewer replicas");
        }

        if (config.Microbatches > ControlCodec.MicrobatchesMost)
        {
            throw new ConfigurationException($"microbatches {config.Microbatches}: a swarm's step has at most {ControlCodec.MicrobatchesMost}; raise microbatch-size instead");
        }

        int tensors = 16 * (model.Layers + 2);
        Require("the list of the peers around one", ControlCodec.EncodePlacement(1, LargestPlacement(config, near), _ => "[ffff::ffff]:65535"), "have fewer replicas, or more stages of fewer replicas");
        Require("the list of a stage's gradient shares", ControlCodec.EncodeReduce(LargestReduce(config)), "have fewer replicas or microbatches; microbatch-size makes each of them larger");
        Require("a peer's report of its step", ControlCodec.Encode<PeerMessage>(ControlTag.FromPeer, LargestReport(config)), "have fewer microbatches; microbatch-size makes each of them larger");
        Require("the gradient's squares of a stage", ControlCodec.Encode<PeerMessage>(ControlTag.FromPeer, new PeerMessage.Reduced(int.MaxValue, long.MaxValue, [.. Enumerable.Repeat(1 / 3.0, tensors)])), "the model has too many tensors");

        void Require(string what, byte[] wire, string fix)
        {
            if (wire.Length > PeerLink.WordBytesMax)
            {
                throw new ConfigurationException($"stages {config.Stages}, replicas {config.Replicas}, microbatches {config.Microbatches}: {what} has up to {wire.Length:N0} bytes, and a message carries {PeerLink.WordBytesMax:N0}; {fix}");
            }
        }
    }

    static Placement LargestPlacement(RunConfig config, int near) => new(
        int.MaxValue, [.. Enumerable.Range(0, config.Stages).Select(stage => new StageSlice(stage, 1))],
        [.. Enumerable.Range(0, near).Select(peer => new Member(PeerId.FromNumber(peer), 0, int.MaxValue, MemberState.Active))]);

    static OrchestratorMessage.Reduce LargestReduce(RunConfig config)
    {
        int holders = HoldersMost(config);
        GradientShare[] shares = [.. Enumerable.Range(0, holders).Select(peer => new GradientShare(PeerId.FromNumber(peer), 0, 1, new MicrobatchSet(config.Microbatches)))];
        for (int m = 0; m < config.Microbatches; m++)
        {
            shares[m % holders].Microbatches.Add(m);
        }

        return new OrchestratorMessage.Reduce(int.MaxValue, long.MaxValue, [.. shares]);
    }

    static PeerMessage.ReduceRefused LargestReport(RunConfig config)
    {
        MicrobatchSet all = MicrobatchSet.Of(config.Microbatches, [.. Enumerable.Range(0, config.Microbatches)]);
        ImmutableArray<double> losses = [.. Enumerable.Repeat(1 / 3.0, config.Microbatches)];
        return new PeerMessage.ReduceRefused(int.MaxValue, long.MaxValue, new StepReport(int.MaxValue, int.MaxValue, all, losses, all));
    }
}
