// The messages of the data path and the signs of life as fixed bytes, little-endian, written to and read from the caller's
// memory: saying one allocates nothing.
//   Work         tag, kind, answered, verdict, reason, 3 zeros, 8 x int32, 2 x int64                     56 bytes
//   Contributed  tag, 3 zeros, step, generation, microbatch, loss                                        24 bytes
//   Heartbeat    tag, task, 6 zeros, then nanoseconds: service, silence, the task's age, its usual time; bulk bytes 48 bytes
//   Figures      tag, 7 zeros, the fields of PeerTold in their order
//   Grant        tag, 3 zeros, step, attempt, then one int32 for each microbatch        Pulse   the tag
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

static partial class ControlCodec
{
    public const int WorkBytes = 56;
    public const int ContributedBytes = 24;
    public const int HeartbeatBytes = 48;
    public const int GrantHeadBytes = 12;

    public static int FiguresBytes => 8 + Unsafe.SizeOf<PeerTold>();

    public static void Encode(in WorkMessage message, Span<byte> wire)
    {
        wire.Clear();
        wire[0] = (byte)ControlTag.Work;
        wire[1] = (byte)message.Kind;
        wire[2] = (byte)message.Answered;
        wire[3] = (byte)message.Verdict;
        wire[4] = (byte)message.Reason;
        ReadOnlySpan<int> numbers = [message.Work.Epoch, message.Work.Step, message.Work.Microbatch, message.Work.Stage, message.Work.Attempt, message.Load.Queued, message.Load.FreeSlots, message.Load.Accepted];
        for (int i = 0; i < numbers.Length; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(wire[(8 + (4 * i))..], numbers[i]);
        }

        BinaryPrimitives.WriteInt64LittleEndian(wire[40..], message.Load.ServiceNanoseconds);
        BinaryPrimitives.WriteInt64LittleEndian(wire[48..], message.Load.OwedNanoseconds);
    }

    public static WorkMessage DecodeWork(ReadOnlySpan<byte> wire)
    {
        Require(wire, WorkBytes, wire.Length == WorkBytes && wire[1] <= (byte)WorkKind.Status && wire[2] <= (byte)WorkKind.Status && wire[3] <= (byte)Verdict.Refused && wire[4] <= (byte)RefusalReason.WrongStage);
        return new WorkMessage((WorkKind)wire[1], new WorkId(Number(wire, 8), Number(wire, 12), Number(wire, 16), Number(wire, 20), Number(wire, 24)))
        {
            Answered = (WorkKind)wire[2],
            Verdict = (Verdict)wire[3],
            Reason = (RefusalReason)wire[4],
            Load = new PeerLoad(Number(wire, 28), Number(wire, 32), Number(wire, 36), BinaryPrimitives.ReadInt64LittleEndian(wire[40..]), BinaryPrimitives.ReadInt64LittleEndian(wire[48..])),
        };
    }

    public static void EncodeContributed(int step, int generation, int microbatch, double loss, Span<byte> wire)
    {
        wire.Clear();
        wire[0] = (byte)ControlTag.Contributed;
        BinaryPrimitives.WriteInt32LittleEndian(wire[4..], step);
        BinaryPrimitives.WriteInt32LittleEndian(wire[8..], generation);
        BinaryPrimitives.WriteInt32LittleEndian(wire[12..], microbatch);
        BinaryPrimitives.WriteDoubleLittleEndian(wire[16..], loss);
    }

    public static PeerMessage.Contributed DecodeContributed(ReadOnlySpan<byte> wire)
    {
        Require(wire, ContributedBytes, wire.Length == ContributedBytes);
        return new PeerMessage.Contributed(Number(wire, 4), Number(wire, 8), Number(wire, 12), BinaryPrimitives.ReadDoubleLittleEndian(wire[16..]));
    }

    public static void EncodeHeartbeat(long serviceNanoseconds, long silenceNanoseconds, in OpenTask open, long bulkBytes, Span<byte> wire)
    {
        wire.Clear();
        wire[0] = (byte)ControlTag.Heartbeat;
        wire[1] = (byte)open.Task;
        BinaryPrimitives.WriteInt64LittleEndian(wire[8..], serviceNanoseconds);
        BinaryPrimitives.WriteInt64LittleEndian(wire[16..], silenceNanoseconds);
        BinaryPrimitives.WriteInt64LittleEndian(wire[24..], open.Lasted.Ticks * TimeSpan.NanosecondsPerTick);
        BinaryPrimitives.WriteInt64LittleEndian(wire[32..], open.Usual.Ticks * TimeSpan.NanosecondsPerTick);
        BinaryPrimitives.WriteInt64LittleEndian(wire[40..], bulkBytes);
    }

    public static PeerMessage.Heartbeat DecodeHeartbeat(ReadOnlySpan<byte> wire)
    {
        Require(wire, HeartbeatBytes, wire.Length == HeartbeatBytes && wire[1] <= (byte)ComputeTask.Save);
        OpenTask open = new((ComputeTask)wire[1], Span(wire, 24), Span(wire, 32));
        return new PeerMessage.Heartbeat(BinaryPrimitives.ReadInt64LittleEndian(wire[8..]), BinaryPrimitives.ReadInt64LittleEndian(wire[16..]), open, BinaryPrimitives.ReadInt64LittleEndian(wire[40..]));
    }

    public static void EncodeFigures(in PeerTold told, Span<byte> wire)
    {
        wire.Clear();
        wire[0] = (byte)ControlTag.Figures;
        MemoryMarshal.Write(wire[8..], told);
    }

    public static PeerTold DecodeFigures(ReadOnlySpan<byte> wire)
    {
        Require(wire, FiguresBytes, wire.Length == FiguresBytes);
        return MemoryMarshal.Read<PeerTold>(wire[8..]);
    }

    public static byte[] Encode(OrchestratorMessage.Grant grant)
    {
        byte[] wire = new byte[GrantHeadBytes + (sizeof(int) * grant.Microbatches.Length)];
        wire[0] = (byte)ControlTag.Grant;
        BinaryPrimitives.WriteInt32LittleEndian(wire.AsSpan(4), grant.Step);
        BinaryPrimitives.WriteInt32LittleEndian(wire.AsSpan(8), grant.Attempt);
        for (int i = 0; i < grant.Microbatches.Length; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(wire.AsSpan(GrantHeadBytes + (sizeof(int) * i)), grant.Microbatches[i]);
        }

        return wire;
    }

    /// <summary>The head of a grant; <see cref="GrantedMicrobatch"/> reads the rest.</summary>
    public static (int Step, int Attempt, int Count) DecodeGrant(ReadOnlySpan<byte> wire)
    {
        Require(wire, GrantHeadBytes, wire.Length >= GrantHeadBytes && (wire.Length - GrantHeadBytes) % sizeof(int) == 0);
        return (Number(wire, 4), Number(wire, 8), (wire.Length - GrantHeadBytes) / sizeof(int));
    }

    public static int GrantedMicrobatch(ReadOnlySpan<byte> wire, int index) => Number(wire, GrantHeadBytes + (sizeof(int) * index));

    static TimeSpan Span(ReadOnlySpan<byte> wire, int offset) => TimeSpan.FromTicks(BinaryPrimitives.ReadInt64LittleEndian(wire[offset..]) / TimeSpan.NanosecondsPerTick);

    static int Number(ReadOnlySpan<byte> wire, int offset) => BinaryPrimitives.ReadInt32LittleEndian(wire[offset..]);

    static void Require(ReadOnlySpan<byte> wire, int bytes, bool isRight, [CallerMemberName] string what = "")
    {
        if (!isRight)
        {
            throw new InvalidDataException($"{what}: {wire.Length} bytes cannot be read as such a message, which has {bytes} and known values");
        }
    }
}
