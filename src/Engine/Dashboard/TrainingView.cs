// What a person sees while a run trains: a live panel on a terminal, plain lines anywhere else.
using System.Globalization;

namespace OrionNative.Engine.Dashboard;

/// <summary>One finished inner step, as shown.</summary>
/// <param name="Step">From 1.</param>
/// <param name="Steps">Steps of the whole run.</param>
/// <param name="Mfu">Model FLOP utilization, 0 to 1; NaN if the device's peak is not known.</param>
/// <param name="Remaining">Time left at the present speed.</param>
sealed record StepView(
    int Step, int Steps, double Loss, double LearningRate, double GradientNorm, double TokensPerSecond, double Mfu, TimeSpan Remaining);

interface ITrainingView : IDisposable
{
    void Step(StepView step);

    /// <summary>A line that stays: a checkpoint, an evaluation.</summary>
    void Note(string text);
}

/// <summary>Plain lines: the first steps, then one every few seconds, and the last.</summary>
sealed class PlainTrainingView(TextWriter output, TimeProvider clock) : ITrainingView
{
    static readonly TimeSpan _every = TimeSpan.FromSeconds(2);
    long _printed;

    public void Step(StepView step)
    {
        if (step.Step > 3 && step.Step < step.Steps && clock.GetElapsedTime(_printed) < _every)
        {
            return;
        }

        _printed = clock.GetTimestamp();
        output.WriteLine(Line(step));
    }

    public void Note(string text) => output.WriteLine(text);

    public static string Line(StepView s) => string.Create(CultureInfo.InvariantCulture,
        $"step {s.Step,6}/{s.Steps}  loss {s.Loss:F4}  lr {s.LearningRate:0.00e+0}  norm {s.GradientNorm:F2}  {s.TokensPerSecond:N0} tok/s{Mfu(s)}  {Left(s.Remaining)} left");

    static string Mfu(StepView s) => double.IsNaN(s.Mfu) ? "" : string.Create(CultureInfo.InvariantCulture, $"  MFU {s.Mfu * 100:F1} %");

    public static string Left(TimeSpan time) => time.TotalHours >= 1
        ? string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalHours}:{time.Minutes:D2}:{time.Seconds:D2}")
        : string.Create(CultureInfo.InvariantCulture, $"{time.Minutes}:{time.Seconds:D2}");

    public void Dispose()
    {
    }
}
