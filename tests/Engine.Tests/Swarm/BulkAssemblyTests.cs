// Pieces of a transfer come from another machine: what is written and where must be theirs and inside.
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Tests.Swarm;

public class BulkAssemblyTests
{
    const int Piece = BulkTransfer.PieceBytes;
    const int Last = 100;

    [Theory]
    [InlineData(-1, Piece)]
    [InlineData(int.MinValue, Piece)]
    [InlineData(2, Last)]
    [InlineData(int.MaxValue, 1)]
    [InlineData(0, Piece - 1)]
    [InlineData(0, 0)]
    [InlineData(1, Piece)]
    [InlineData(1, Last - 1)]
    public void Piece_ThatIsNoneOfTheTransfer_IsAViolation(int piece, int bytes)
    {
        using BulkAssembly parts = new(Piece + Last);
        Assert.Throws<InvalidDataException>(() => parts.Take(piece, new byte[bytes]));
        Assert.Equal(Piece + Last, parts.MissingBytes);
    }

    [Fact]
    public unsafe void Pieces_InAnyOrderAndTwice_AreWholeOnce()
    {
        using BulkAssembly parts = new(Piece + Last);
        Assert.False(parts.Take(1, new byte[Last].Select(_ => (byte)7).ToArray()));
        Assert.False(parts.Take(1, new byte[Last]));
        Assert.False(parts.IsWhole);
        Assert.True(parts.Take(0, new byte[Piece]));
        Assert.False(parts.Take(0, new byte[Piece]));
        Assert.True(parts.IsWhole);
        Assert.Equal((0, 7), (parts.Data[Piece - 1], parts.Data[Piece]));
    }

    [Theory]
    [InlineData(5, 1UL, 9, false)]     // the transfer itself
    [InlineData(5, 1UL, 10, false)]    // the same sum, given again over another connection
    [InlineData(5, 2UL, 10, true)]     // the sum has grown
    [InlineData(5, 2UL, 8, false)]     // a straggler of an older transfer
    [InlineData(6, 2UL, 8, true)]      // the next step
    [InlineData(4, 2UL, 10, false)]    // the step before
    public void Share_NextToTheNewest_FollowsItOnlyIfItIsLater(int step, ulong name, int serial, bool isLater)
    {
        using BulkAssembly parts = new(Last);
        IncomingShare newest = new(Header(5, 1, 9), parts);
        Assert.Equal(isLater, newest.IsBefore(Header(step, name, serial)));
    }

    [Fact]
    public void Share_AfterTheCountWrapped_IsLater()
    {
        using BulkAssembly parts = new(Last);
        Assert.True(new IncomingShare(Header(5, 1, ushort.MaxValue), parts).IsBefore(Header(5, 2, 3)));
    }

    static MessageHeader Header(int step, ulong name, int serial) =>
        new() { Kind = MessageKind.PseudoGradient, Step = (uint)step, Tag = name, Attempt = (ushort)serial };
}
