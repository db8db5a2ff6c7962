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
        Placement placement = new(4, [new StageSlice(0, 2), new StageSlice(2, 3)], [new Member(_peer, 1, 2, MemberState.Draining)]);
        OrchestratorMessage[] messages =
        [
            new OrchestratorMessage.Welcome(2, placement),
            new OrchestratorMessage.Refused(JoinRefusal.TokenExpired, "why"),
            new OrchestratorMessage.LoadState(3, 7, PeerId.None),
            new OrchestratorMessage.Recheck(5, 4),
            new OrchestratorMessage.Rebuild(5, 1, MicrobatchSet.Of(8, 0, 7)),
            new OrchestratorMessage.Reduce(5, 1L << 40, [new GradientShare(_peer, 1, 2, MicrobatchSet.Of(8, 3))]),
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
        ControlCodec.EncodeHeartbeat(long.MaxValue, 7, open, wire[..ControlCodec.HeartbeatBytes]);
        Assert.Equal(new PeerMessage.Heartbeat(long.MaxValue, 7, open), ControlCodec.DecodeHeartbeat(wire[..ControlCodec.HeartbeatBytes]));
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
