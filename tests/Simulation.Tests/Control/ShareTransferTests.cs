// Of each sender the last share is kept: which of two is the later one.
using OrionNative.Engine.Control;

namespace OrionNative.Simulation.Tests.Control;

public class ShareTransferTests
{
    [Theory]
    [InlineData(3, 5, 1UL, 9, false)]     // the transfer itself
    [InlineData(3, 5, 1UL, 10, false)]    // the same sum, given again over another connection
    [InlineData(3, 5, 2UL, 10, true)]     // the sum has grown
    [InlineData(3, 5, 2UL, 8, false)]     // a straggler of an older sum
    [InlineData(3, 6, 2UL, 8, true)]      // the next step
    [InlineData(3, 4, 2UL, 10, false)]    // the step before
    [InlineData(4, 2, 2UL, 1, true)]      // a new life, after a rollback
    [InlineData(2, 9, 2UL, 10, false)]    // a former life, of a branch that was undone
    public void Share_BesideTheOneThatIsKept_FollowsItOnlyIfItsSumIsLater(int epoch, int step, ulong name, int serial, bool isLater) =>
        Assert.Equal(isLater, new ShareTransfer(3, 5, 1, 9).IsFollowedBy(new ShareTransfer(epoch, step, name, (ushort)serial)));

    [Fact]
    public void CountOfTransfersWraps_TheNextOneIsLater() =>
        Assert.True(new ShareTransfer(3, 5, 1, ushort.MaxValue).IsFollowedBy(new ShareTransfer(3, 5, 2, 3)));
}
