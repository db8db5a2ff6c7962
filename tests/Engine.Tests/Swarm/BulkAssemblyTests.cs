// Pieces of a transfer come from another machine: what is written and where must be theirs and inside.
using OrionNative.Engine.Hosting.Swarm;

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
}
