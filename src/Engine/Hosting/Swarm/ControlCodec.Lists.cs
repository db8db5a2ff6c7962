// The messages whose length grows with the number of replicas, as bytes, little-endian: a member's id has 32 bytes here and 52
// letters in JSON, and every message must fit into one control frame of 64 KiB (ControlLimits shows it before a run begins).
//   Placed   tag, 3 zeros, term (0: Placed, else Welcome), epoch, members elsewhere, slices, members
//            slice: first block, blocks        member: id, admitted epoch, stage (2), state, address bytes (0, 4 or 16), address, port (2)
//   Reduce   tag, 3 zeros, step, reduce id (8), microbatches of a step, stage, shares
//            share: id, generation, admitted epoch, count, then each microbatch (2)
using System.Collections.Immutable;
using System.Net;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

static partial class ControlCodec
{
    /// <summary>Microbatches of a step at most: a share names each of its own in two bytes.</summary>
    public const int MicrobatchesMost = 1 << 16;

    /// <summary>A <see cref="OrchestratorMessage.Placed"/>, or a <see cref="OrchestratorMessage.Welcome"/> with its term.</summary>
    /// <param name="term">0 for Placed.</param>
    /// <param name="placement">What the receiver must know.</param>
    /// <param name="addressOf">Where others dial a member; null: nobody was told.</param>
    public static byte[] EncodePlacement(int term, Placement placement, Func<PeerId, string?> addressOf)
    {
        using MemoryStream wire = new();
        using BinaryWriter to = new(wire);
        to.Write((int)ControlTag.Placement);
        to.Write(term);
        to.Write(placement.Epoch);
        to.Write(placement.ElsewhereCount);
        to.Write(placement.Slices.Length);
        to.Write(placement.Members.Length);
        foreach (StageSlice slice in placement.Slices)
        {
            to.Write(slice.FirstBlock);
            to.Write(slice.BlockCount);
        }

        foreach (Member member in placement.Members)
        {
            Write(to, member.Peer);
            to.Write(member.AdmittedEpoch);
            to.Write((ushort)member.Stage);
            to.Write((byte)member.State);
            IPEndPoint? place = IPEndPoint.TryParse(addressOf(member.Peer) ?? "", out IPEndPoint? found) ? found : null;
            byte[] address = place?.Address.GetAddressBytes() ?? [];
            to.Write((byte)address.Length);
            to.Write(address);
            to.Write((ushort)(place?.Port ?? 0));
        }

        return wire.ToArray();
    }

    /// <summary>Reads what <see cref="EncodePlacement"/> wrote, and enters the members' addresses.</summary>
    /// <exception cref="InvalidDataException">It is none.</exception>
    public static OrchestratorMessage DecodePlacement(byte[] wire, IDictionary<PeerId, IPEndPoint> addresses) => Read(wire, from =>
    {
        (int term, int epoch, int elsewhere, int slices, int members) = (from.ReadInt32(), from.ReadInt32(), from.ReadInt32(), from.ReadInt32(), from.ReadInt32());
        ImmutableArray<StageSlice> held = [.. Several(slices, wire, () => new StageSlice(from.ReadInt32(), from.ReadInt32()))];
        ImmutableArray<Member> placed = [.. Several(members, wire, () =>
        {
            (PeerId peer, int admitted, ushort stage, byte state) = (ReadPeer(from), from.ReadInt32(), from.ReadUInt16(), from.ReadByte());
            (byte[] address, ushort port) = (from.ReadBytes(from.ReadByte()), from.ReadUInt16());
            if (address.Length > 0)
            {
                addresses[peer] = new IPEndPoint(new IPAddress(address), port);
            }

            return new Member(peer, stage, admitted, (MemberState)state);
        })];
        Placement placement = new(epoch, held, placed) { ElsewhereCount = elsewhere };
        return term > 0 ? new OrchestratorMessage.Welcome(term, placement) : (OrchestratorMessage)new OrchestratorMessage.Placed(placement);
    });

    /// <summary>The shares of one stage.</summary>
    public static byte[] EncodeReduce(OrchestratorMessage.Reduce reduce)
    {
        using MemoryStream wire = new();
        using BinaryWriter to = new(wire);
        to.Write((int)ControlTag.Reduce);
        to.Write(reduce.Step);
        to.Write(reduce.ReduceId);
        to.Write(reduce.Shares.IsEmpty ? 0 : reduce.Shares[0].Microbatches.Capacity);
        to.Write(reduce.Shares.IsEmpty ? 0 : reduce.Shares[0].Stage);
        to.Write(reduce.Shares.Length);
        foreach (GradientShare share in reduce.Shares)
        {
            Write(to, share.Peer);
            to.Write(share.Generation);
            to.Write(share.AdmittedEpoch);
            to.Write(share.Microbatches.Count);
            for (int m = share.Microbatches.Next(0); m >= 0; m = share.Microbatches.Next(m + 1))
            {
                to.Write((ushort)m);
            }
        }

        return wire.ToArray();
    }

    /// <summary>Reads what <see cref="EncodeReduce"/> wrote.</summary>
    /// <exception cref="InvalidDataException">It is none.</exception>
    public static OrchestratorMessage.Reduce DecodeReduce(byte[] wire) => Read(wire, from =>
    {
        (int step, long id, int capacity, int stage, int count) = (from.ReadInt32(), from.ReadInt64(), from.ReadInt32(), from.ReadInt32(), from.ReadInt32());
        if ((uint)capacity > MicrobatchesMost)
        {
            throw new InvalidDataException($"a step of {capacity} microbatches, at most {MicrobatchesMost}");
        }

        return new OrchestratorMessage.Reduce(step, id, [.. Several(count, wire, () =>
        {
            (PeerId peer, int generation, int admitted) = (ReadPeer(from), from.ReadInt32(), from.ReadInt32());
            int[] microbatches = Several(from.ReadInt32(), wire, () => (int)from.ReadUInt16());
            return new GradientShare(peer, stage, generation, MicrobatchSet.Of(capacity, microbatches)) { AdmittedEpoch = admitted };
        })]);
    });

    static T Read<T>(byte[] wire, Func<BinaryReader, T> read)
    {
        try
        {
            using MemoryStream stream = new(wire);
            using BinaryReader from = new(stream);
            from.ReadInt32();
            T value = read(from);
            return stream.Position == wire.Length ? value : throw new InvalidDataException($"{wire.Length - stream.Position} bytes are left over");
        }
        catch (Exception error) when (error is EndOfStreamException or ArgumentException or InvalidDataException)
        {
            throw new InvalidDataException($"a list of {wire.Length} bytes cannot be read: {error.Message}", error);
        }
    }

    // nothing of a list takes less than a byte: a count beyond that is a lie, found before there is memory for it
    static T[] Several<T>(int count, byte[] wire, Func<T> read)
    {
        T[] several = (uint)count <= (uint)wire.Length ? new T[count] : throw new InvalidDataException($"a list of {count} in {wire.Length} bytes");
        for (int i = 0; i < count; i++)
        {
            several[i] = read();
        }

        return several;
    }

    static void Write(BinaryWriter to, PeerId peer)
    {
        Span<byte> id = stackalloc byte[PeerIdBytes];
        peer.CopyTo(id);
        to.Write(id);
    }

    static PeerId ReadPeer(BinaryReader from) => new(from.ReadBytes(PeerIdBytes));

    const int PeerIdBytes = 32;
}
