using System.Text.Json.Nodes;
using OrionNative.Engine.Control;
using OrionNative.Engine.Hosting.Swarm;

namespace OrionNative.Engine.Tests.Swarm;

public class ControlCodecTests
{
    static readonly PeerId _peer = PeerId.FromNumber(3);

    [Fact]
    public void OrchestratorMessages_EncodedAndDecoded_AreTheSame()
    {
        OrchestratorMessage[] messages =
        [
            new OrchestratorMessage.Refused(JoinRefusal.TokenExpired, "why"),
            new OrchestratorMessage.LoadState(3, 7, PeerId.None),
            new OrchestratorMessage.Recheck(5, 4, 1),
            new OrchestratorMessage.Rebuild(5, 1, MicrobatchSet.Of(8, 0, 7)),
            new OrchestratorMessage.Commit(5, 0.1 + 0.2, double.Epsilon, true),
        ];
        foreach (OrchestratorMessage message in messages)
        {
            byte[] wire = ControlCodec.Encode(ControlTag.FromOrchestrator, message, new JsonObject { ["a"] = "b" });
            (OrchestratorMessage read, JsonObject? beside) = ControlCodec.Decode<OrchestratorMessage>(wire.AsSpan(1));
            Assert.Equal((byte)ControlTag.FromOrchestrator, wire[0]);
            Assert.Equal("b", (string?)beside?["a"]);
            Assert.Equal(ControlCodec.Text(message), ControlCodec.Text(read));
        }
    }

    [Fact]
    public void Placement_EncodedAndDecoded_IsTheSame()
    {
        PeerId other = PeerId.FromNumber(4), third = PeerId.FromNumber(5);
        Placement placement = new(4, [new StageSlice(0, 2), new StageSlice(2, 3)], [new Member(_peer, 1, 2, MemberState.Draining), new Member(other, 0, 4, MemberState.Active), new Member(third, 0, 4, MemberState.Joining)]) { ElsewhereCount = 7 };
        Dictionary<PeerId, string> addresses = new() { [_peer] = "1.2.3.4:65535", [other] = "[fe80::1]:1" };
        Dictionary<PeerId, System.Net.IPEndPoint> read = [];
        foreach (OrchestratorMessage message in (OrchestratorMessage[])[new OrchestratorMessage.Placed(placement), new OrchestratorMessage.Welcome(3, placement)])
        {
            byte[] wire = ControlCodec.EncodeToPeer(message, addresses.GetValueOrDefault);
            Assert.Equal((byte)ControlTag.Placement, wire[0]);
            Assert.Equal(ControlCodec.Text(message), ControlCodec.Text(ControlCodec.DecodePlacement(wire, read)));
            Assert.Equal(addresses, read.ToDictionary(entry => entry.Key, entry => entry.Value.ToString()));
        }
    }

    [Fact]
    public void Reduce_EncodedAndDecoded_IsTheSame()
    {
        GradientShare[] shares = [new(_peer, 1, 2, MicrobatchSet.Of(700, 3, 699)) { AdmittedEpoch = 5 }, new(PeerId.FromNumber(9), 1, 0, MicrobatchSet.Of(700))];
        foreach (OrchestratorMessage.Reduce reduce in (OrchestratorMessage.Reduce[])[new(5, 1L << 40, [.. shares]), new(6, -1, [])])
        {
            byte[] wire = ControlCodec.EncodeToPeer(reduce, _ => null);
            Assert.Equal((byte)ControlTag.Reduce, wire[0]);
            Assert.Equal(ControlCodec.Text(reduce), ControlCodec.Text(ControlCodec.DecodeReduce(wire)));
        }
    }

    [Fact]
    public void Lists_CutOrWithALie_AreRefusedByName()
    {
        byte[] placed = ControlCodec.EncodePlacement(1, new Placement(1, [new StageSlice(0, 1)], [new Member(_peer, 0, 1, MemberState.Active)]), _ => "1.2.3.4:5");
        byte[] reduce = ControlCodec.EncodeReduce(new OrchestratorMessage.Reduce(1, 2, [new GradientShare(_peer, 0, 0, MicrobatchSet.Of(8, 1, 7))]));
        for (int bytes = 1; bytes < placed.Length; bytes++)
        {
            Assert.Throws<InvalidDataException>(() => ControlCodec.DecodePlacement(placed[..bytes], new Dictionary<PeerId, System.Net.IPEndPoint>()));
        }

        for (int bytes = 1; bytes < reduce.Length; bytes++)
        {
            Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeReduce(reduce[..bytes]));
        }

        Assert.Contains("left over", Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeReduce([.. reduce, 0])).Message);
        reduce[^1] = 1;   // microbatch 263 of 8
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeReduce(reduce));
        placed[20] = placed[21] = placed[22] = placed[23] = 127;   // two thousand million members
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodePlacement(placed, new Dictionary<PeerId, System.Net.IPEndPoint>()));
    }

    [Theory]
    [InlineData(512)]
    [InlineData(513)]
    [InlineData(5000)]
    public void Report_OfAStep_ComesBackAsItWas(int microbatches)
    {
        MicrobatchSet all = MicrobatchSet.Of(microbatches, [.. Enumerable.Range(0, microbatches)]), few = MicrobatchSet.Of(microbatches, 0, 7, microbatches - 1);
        double[] losses = [.. Enumerable.Range(0, microbatches).Select(m => m == 3 ? double.NaN : Math.BitIncrement(m / 3.0))];
        foreach (StepReport report in (StepReport[])[new(1, 2, all, [.. losses], few), new(1, 2, few, [], all.Without(few))])
        {
            PeerMessage.Hello hello = new(1, true, report);
            byte[] wire = ControlCodec.Encode<PeerMessage>(ControlTag.FromPeer, hello);
            StepReport read = ((PeerMessage.Hello)ControlCodec.Decode<PeerMessage>(wire.AsSpan(1)).Message).Report;
            Assert.InRange(wire.Length, 1, Net.Framing.PeerLink.WordBytesMax);
            Assert.Equal(report.Contributed.ToString(), read.Contributed.ToString());
            Assert.Equal(report.Held.ToString(), read.Held.ToString());
            Assert.Equal(report.Losses.Select(BitConverter.DoubleToInt64Bits), read.Losses.Select(BitConverter.DoubleToInt64Bits));
        }
    }

    [Fact]
    public void CommitScale_ThroughTheWire_KeepsItsBits()
    {
        double scale = Math.BitDecrement(1.0 / 3);
        var read = (OrchestratorMessage.Commit)ControlCodec.Decode<OrchestratorMessage>(
            ControlCodec.Encode(ControlTag.FromOrchestrator, new OrchestratorMessage.Commit(1, scale, 2, false)).AsSpan(1)).Message;
        Assert.Equal(BitConverter.DoubleToInt64Bits(scale), BitConverter.DoubleToInt64Bits(read.Scale));
    }

    [Fact]
    public void NotANumber_InALoss_Survives()
    {
        Span<byte> wire = stackalloc byte[ControlCodec.ContributedBytes];
        ControlCodec.EncodeContributed(1, 0, 2, double.NaN, wire);
        Assert.True(double.IsNaN(ControlCodec.DecodeContributed(wire).Loss));
    }

    [Fact]
    public void FixedMessages_EncodedAndDecoded_AreTheSame()
    {
        Span<byte> wire = stackalloc byte[ControlCodec.FiguresBytes];
        ControlCodec.EncodeContributed(1 << 30, -2, 3, 0.1 + 0.2, wire[..ControlCodec.ContributedBytes]);
        Assert.Equal(new PeerMessage.Contributed(1 << 30, -2, 3, 0.1 + 0.2), ControlCodec.DecodeContributed(wire[..ControlCodec.ContributedBytes]));
        OpenTask open = new(ComputeTask.Apply, TimeSpan.FromTicks(8), TimeSpan.FromHours(9));
        ControlCodec.EncodeHeartbeat(long.MaxValue, 7, open, 1L << 40, wire[..ControlCodec.HeartbeatBytes]);
        Assert.Equal(new PeerMessage.Heartbeat(long.MaxValue, 7, open, 1L << 40), ControlCodec.DecodeHeartbeat(wire[..ControlCodec.HeartbeatBytes]));
        PeerTold told = new(1, 2, 3, 4, new PeerCounts(5, 6, 7, 8, 9, 10, 11, 12.5, 13, 14, 15, 16));
        ControlCodec.EncodeFigures(told, wire);
        Assert.Equal(told, ControlCodec.DecodeFigures(wire));
    }

    [Fact]
    public void Grant_EncodedAndDecoded_NamesEachMicrobatchInOrder()
    {
        byte[] wire = ControlCodec.Encode(new OrchestratorMessage.Grant(5, 2, [1, 4]));
        Assert.Equal((5, 2, 2), ControlCodec.DecodeGrant(wire));
        Assert.Equal(1, ControlCodec.GrantedMicrobatch(wire, 0));
        Assert.Equal(4, ControlCodec.GrantedMicrobatch(wire, 1));
    }

    [Fact]
    public void FixedMessages_OfAnotherLength_AreRefusedByName()
    {
        byte[] wire = new byte[ControlCodec.FiguresBytes + 1];
        Assert.Contains("DecodeFigures", Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeFigures(wire)).Message);
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeContributed(wire));
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeHeartbeat(wire));
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeGrant(wire.AsSpan(0, ControlCodec.GrantHeadBytes + 1)));
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeGrant(wire.AsSpan(0, 4)));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("[1]")]
    [InlineData("""{"kind":"Refused","body":{}}""")]
    [InlineData("""{"kind":"Refused","body":{"Refusal":1,"Text":null}}""")]
    [InlineData("""{"kind":"Rebuild","body":{"Step":1,"Generation":1,"Keep":[2000000000]}}""")]
    [InlineData("""{"kind":"Rebuild","body":{"Step":1,"Generation":1,"Keep":[-1]}}""")]
    [InlineData("""{"kind":"Rebuild","body":{"Step":1,"Generation":1,"Keep":{"of":2000000000,"bits":""}}}""")]
    [InlineData("""{"kind":"Rebuild","body":{"Step":1,"Generation":1,"Keep":{"of":16,"bits":"AA=="}}}""")]
    [InlineData("""{"kind":"Rebuild","body":{"Step":1,"Generation":1,"Keep":{"of":8,"bits":"!"}}}""")]
    [InlineData("""{"kind":"Rebuild","body":{"Step":1,"Generation":1,"Keep":{"bits":null}}}""")]
    [InlineData("""{"kind":"Nonsense","body":{}}""")]
    [InlineData("""{"kind":"Grant","body":{"Step":"x"}}""")]
    public void Decode_OfGarbage_IsRefusedByName(string json) =>
        Assert.Throws<InvalidDataException>(() => ControlCodec.Decode<OrchestratorMessage>(System.Text.Encoding.UTF8.GetBytes(json)));

    [Fact]
    public void WorkMessage_EncodedAndDecoded_IsTheSame()
    {
        WorkMessage message = new(WorkKind.Answer, new WorkId(1, 2, 3, 4, 5))
        {
            Answered = WorkKind.Forward,
            Verdict = Verdict.Busy,
            Reason = RefusalReason.NoSlot,
            Load = new PeerLoad(6, 7, 8, long.MaxValue, long.MaxValue - 1),
        };
        byte[] wire = new byte[ControlCodec.WorkBytes];
        ControlCodec.Encode(message, wire);
        Assert.Equal(message, ControlCodec.DecodeWork(wire));
        wire[1] = 200;
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeWork(wire));
        Assert.Throws<InvalidDataException>(() => ControlCodec.DecodeWork(wire.AsSpan(1)));
    }
}
