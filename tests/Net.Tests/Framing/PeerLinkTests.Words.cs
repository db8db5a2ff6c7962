// Words that wait: what one side says in a burst has its turn when the other one has acknowledged what came before.
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public partial class PeerLinkTests
{
    // A step's token ids for a holder of stage 0 are more than there is room for among the control frames.
    [Fact]
    public void WordsBeyondTheRoom_WaitAndArriveInOrder()
    {
        for (int i = 0; i < 40; i++) _a.Tell([(byte)i, .. new byte[ControlFrame.BodyBytesMax - 1]]);
        _wire.Pump();
        Assert.Null(_wire.A.Reason);
        Assert.Equal(Enumerable.Range(0, 40), _handlerB.Requests.Select(told => (int)told.Body[0]));
    }

    [Fact]
    public void WordsWithoutEnd_PeerTakesNone_LinkCloses()
    {
        _wire.Acknowledges = false;
        for (int i = 0; i < 2 * PeerLink.WaitingBytesMax / ControlFrame.BodyBytesMax && _wire.A.Reason is null; i++)
        {
            _a.Tell(new byte[ControlFrame.BodyBytesMax]);
            _wire.Round();
        }
        Assert.Contains("words wait for the peer", _wire.A.Reason?.Text);
    }

    // Who acknowledges nothing is cut off in time, however much waits for it.
    [Fact]
    public unsafe void WordsWait_PeerTakesNone_LinkClosesInTime()
    {
        _wire.Acknowledges = false;
        for (int i = 0; i < 8; i++) _a.Tell(new byte[ControlFrame.BodyBytesMax]);
        for (int i = 0; i < 80 && _wire.A.Reason is null; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            ((ITransportUser)_a).Peek(Lane.Control, out _);
        }
        Assert.Contains("took no control frame", _wire.A.Reason?.Text);
    }

    // What was asked for behind words that wait is not lost when the link closes.
    [Fact]
    public void WordsWait_SendsAndSlotsBehindInTheInbox_AreLetGo()
    {
        _wire.Acknowledges = false;
        for (int i = 0; i < 8; i++) _a.Tell(new byte[ControlFrame.BodyBytesMax]);
        ValueTask<Answer> task = Send(1, 1000, out Slot slot);
        _a.Grant(Rent(_poolA, 4096), Lane.Forward);
        _wire.Round();
        _wire.Close();
        Assert.True(task.IsCompleted);
        Assert.Equal(new Answer(AnswerKind.LinkClosed), task.Result);
        _poolA.Return(slot);
        Assert.Equal(24, _poolA.FreeCount);
    }
}
