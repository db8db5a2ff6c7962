using FsCheck;
using FsCheck.Fluent;

namespace OrionNative.Engine.Tests.Training;

public class LearningRateScheduleTests
{
    static LearningRateSchedule Schedule(ScheduleKind kind) => new(kind, Peak: 1, Floor: 0.1, WarmupSteps: 10, Steps: 110);

    [Theory]
    [InlineData(ScheduleKind.Constant)]
    [InlineData(ScheduleKind.Cosine)]
    [InlineData(ScheduleKind.Wsd)]
    public void WarmUp_EveryKind_RisesLinearlyToThePeak(ScheduleKind kind)
    {
        Assert.Equal(0.1, Schedule(kind).At(0), 12);
        Assert.Equal(0.5, Schedule(kind).At(4), 12);
        Assert.Equal(1, Schedule(kind).At(9), 12);
        Assert.Equal(1, Schedule(kind).At(10), 12);
    }

    [Theory]
    [InlineData(ScheduleKind.Constant, 60, 1)]
    [InlineData(ScheduleKind.Constant, 5000, 1)]
    [InlineData(ScheduleKind.Cosine, 60, 0.55)]
    [InlineData(ScheduleKind.Cosine, 110, 0.1)]
    [InlineData(ScheduleKind.Cosine, 5000, 0.1)]
    [InlineData(ScheduleKind.Wsd, 88, 1)]
    [InlineData(ScheduleKind.Wsd, 99, 0.55)]
    [InlineData(ScheduleKind.Wsd, 110, 0.1)]
    [InlineData(ScheduleKind.Wsd, 5000, 0.1)]
    public void AfterWarmUp_AtKnownSteps_HasTheFormulasRate(ScheduleKind kind, int step, double rate) =>
        Assert.Equal(rate, Schedule(kind).At(step), 12);

    [Fact]
    public void AnySchedule_AfterWarmUp_NeverRisesAndStaysBetweenFloorAndPeak() => Prop.ForAll(
        ArbMap.Default.ArbFor<(byte Warmup, byte After, byte Kind)>(), shape =>
        {
            LearningRateSchedule schedule = new((ScheduleKind)(shape.Kind % 3), 3e-3, 1e-4, shape.Warmup, shape.Warmup + shape.After + 1);
            double last = schedule.Peak;
            for (int step = shape.Warmup; step < schedule.Steps + 3; step++)
            {
                double rate = schedule.At(step);
                Assert.InRange(rate, schedule.Floor - 1e-15, last + 1e-15);
                last = rate;
            }
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Clip_AboveTheLimit_BringsTheNormToIt()
    {
        Assert.Equal(0.25, GradientClip.Scale(4, 1));
        Assert.Equal(1, GradientClip.Scale(0.5, 1));
        Assert.Equal(1, GradientClip.Scale(4, 0));
    }
}
