// The learning rate of a step: a pure function, so that a resumed run and every peer agree without talking.
//   warm-up     peak * (step+1) / warmup                        for step < warmup; then, with p the fraction of the rest done,
//   constant    peak
//   cosine      floor + (peak - floor) * (1 + cos(pi*p)) / 2
//   wsd         peak, and over the last fifth of the steps linearly to the floor                        arXiv:2404.06395
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Training;

/// <summary>Warm-up and what follows it.</summary>
/// <param name="Peak">Highest rate.</param>
/// <param name="Floor">Lowest rate after the warm-up.</param>
/// <param name="WarmupSteps">Steps of linear warm-up.</param>
/// <param name="Steps">All steps of the run; later ones keep the last rate.</param>
readonly record struct LearningRateSchedule(ScheduleKind Kind, double Peak, double Floor, int WarmupSteps, int Steps)
{
    const double DecayFraction = 0.2;

    /// <summary>The schedule of a run.</summary>
    public static LearningRateSchedule Of(RunConfig run) =>
        new(run.Schedule, run.LearningRate, run.LearningRate * run.LearningRateFloor, run.WarmupSteps, run.Steps);

    /// <summary>The rate of a step, counted from 0.</summary>
    public double At(long step)
    {
        if (step < WarmupSteps)
        {
            return Peak * (step + 1) / WarmupSteps;
        }

        double stepsAfterWarmup = Math.Max(1, Steps - WarmupSteps);
        double done = Math.Min(1, (step - WarmupSteps) / stepsAfterWarmup);
        return Kind switch
        {
            ScheduleKind.Constant => Peak,
            ScheduleKind.Cosine => Floor + ((Peak - Floor) * (1 + Math.Cos(Math.PI * done)) / 2),
            ScheduleKind.Wsd => Wsd(step),
            _ => throw new ArgumentOutOfRangeException(nameof(step), $"unknown schedule {Kind}"),
        };
    }

    double Wsd(long step)
    {
        double decaySteps = Math.Max(1, Math.Min(Steps - WarmupSteps, DecayFraction * Steps));
        double decayed = Math.Clamp((step - (Steps - decaySteps)) / decaySteps, 0, 1);
        return Peak + ((Floor - Peak) * decayed);
    }
}
