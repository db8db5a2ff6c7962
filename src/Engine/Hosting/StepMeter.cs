// Speed of a run, over its last steps: tokens a second, and model FLOP utilization = tokens/s * FLOP per token / peak.
using OrionNative.Engine.Training;

namespace OrionNative.Engine.Hosting;

/// <summary>Exponential means over about the last ten steps; the first step (which compiles) is left out of later ones.</summary>
/// <param name="flopPerToken">Model FLOP of a training step for one token; recomputation does not count.</param>
/// <param name="peakFlops">FLOP/s that the devices reach together, or NaN if not known; asked at every step, because peers come and go.</param>
sealed class StepMeter(double flopPerToken, Func<double> peakFlops)
{
    const double Weight = 0.1;
    int _steps;

    public double TokensPerSecond { get; private set; }

    public double Mfu => TokensPerSecond * flopPerToken / peakFlops();

    public double MfuOf(StepResult step) => step.Tokens / step.Seconds * flopPerToken / peakFlops();

    public void Add(StepResult step)
    {
        double now = step.Tokens / step.Seconds;
        _steps++;
        TokensPerSecond = _steps <= 2 ? now : TokensPerSecond + (Weight * (now - TokensPerSecond));
    }
}
