// What a peer says of the task that its compute thread is at.
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;

namespace OrionNative.Simulation.Tests.Schedule;

public class TaskClockTests
{
    readonly TaskClock _clock = new();
    Instant _now = Instant.FromSeconds(100);

    // Looks every 50 ms, as the host's loop does.
    OpenTask After(double seconds)
    {
        OpenTask open = default;
        for (Instant until = _now + TimeSpan.FromSeconds(seconds); _now < until;)
        {
            _now += TimeSpan.FromSeconds(0.05);
            open = _clock.Look(_now);
        }
        return open;
    }

    void Take(ComputeTask task, double seconds)
    {
        After(0.05);
        _clock.Began(task, _now);
        After(seconds);
        _clock.Ended(_now);
    }

    double UsualOf(ComputeTask task)
    {
        _clock.Began(task, _now);
        double usual = _clock.Look(_now).Usual.TotalSeconds;
        _clock.Ended(_now + TimeSpan.FromSeconds(usual));
        return usual;
    }

    [Fact]
    public void NothingMeasured_TheEstimateCounts_ThenTheOwnTime()
    {
        _clock.Expect(ComputeTask.Apply, 30);
        Assert.Equal(30, UsualOf(ComputeTask.Apply), 1e-6);   // which was also how long it took
        Take(ComputeTask.Apply, 4);
        Assert.Equal(4, UsualOf(ComputeTask.Apply), 1e-6);    // the 30 s were a cold start
        Take(ComputeTask.Apply, 6);
        Assert.Equal(4.4, UsualOf(ComputeTask.Apply), 1e-6);
    }

    [Fact]
    public void RareTask_ShortLastTime_TheEstimateStillCounts()
    {
        _clock.Expect(ComputeTask.Save, 30);
        Take(ComputeTask.Save, 0.1);
        Assert.Equal(30, UsualOf(ComputeTask.Save), 1e-6);
        Take(ComputeTask.Save, 130);
        Assert.True(UsualOf(ComputeTask.Save) > 30);
    }

    [Fact]
    public void OpenTask_HowLong_SinceItBeganNotSinceItWasAskedFor()
    {
        After(0.05);
        _clock.Began(ComputeTask.Save, _now);
        After(9);
        _clock.Began(ComputeTask.Microbatch, _now);   // waits behind it
        OpenTask open = After(1);
        Assert.Equal((ComputeTask.Save, 10), (open.Task, Math.Round(open.Lasted.TotalSeconds, 3)));
        _clock.Ended(_now);
        open = After(0.5);
        Assert.Equal((ComputeTask.Microbatch, 0.5), (open.Task, Math.Round(open.Lasted.TotalSeconds, 3)));
        _clock.Ended(_now);
        Assert.Equal(ComputeTask.None, After(0.05).Task);
    }

    // No look came: the whole process was stopped. The task is not blamed for it, and what it seems to have taken is no measure.
    [Fact]
    public void ProcessStoodStill_OpenTask_CountsFromItsReturnAndIsNotMeasured()
    {
        Take(ComputeTask.Apply, 4);
        _clock.Began(ComputeTask.Apply, _now);
        After(3.5);
        _now += TimeSpan.FromSeconds(20);
        Assert.Equal(TimeSpan.Zero, _clock.Look(_now).Lasted);
        OpenTask open = After(0.5);
        Assert.Equal(0.5, open.Lasted.TotalSeconds, 1e-6);
        _clock.Ended(_now);
        Assert.Equal(4, UsualOf(ComputeTask.Apply), 1e-6);
    }

    [Theory]
    [InlineData((int)ComputeTask.Microbatch, 0.0, 30.0)]
    [InlineData((int)ComputeTask.Microbatch, 0.1, 2.0)]
    [InlineData((int)ComputeTask.Microbatch, 1.5, 12.0)]
    [InlineData((int)ComputeTask.Apply, 0.1, 5.0)]
    [InlineData((int)ComputeTask.Sum, 1.5, 12.0)]
    [InlineData((int)ComputeTask.Load, 2.0, 16.0)]
    public void Patience_EightTimesTheUsualTimeWithAFloor(int task, double usual, double seconds)
    {
        var settings = new ControlSettings
        {
            Version = "",
            ModelHash = "",
            TokenizerHash = "",
            StageCount = 1,
            ReplicaCount = 1,
            MicrobatchCount = 1,
            StepCount = 1,
            GrantWindow = 1,
            Model = ModelCosts.Even(1),
        };
        Assert.Equal(seconds, settings.PatienceWith(new OpenTask((ComputeTask)task, default, TimeSpan.FromSeconds(usual))).TotalSeconds, 1e-6);
    }
}
