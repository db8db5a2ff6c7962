// The live panel: a bar, the figures of the last step, and the loss so far as a small curve, redrawn in place at most ten
// times a second. Notes scroll above it.
using System.Globalization;
using System.Text;

namespace OrionNative.Engine.Dashboard;

sealed class TerminalTrainingView(TextWriter output, TimeProvider clock) : ITrainingView
{
    const int BarColumns = 40;
    const int CurveColumns = 60;
    const int CurveRows = 6;
    static readonly TimeSpan _every = TimeSpan.FromMilliseconds(100);

    readonly List<(int Step, double Loss)> _curve = [];
    long _drawn;
    int _lines;
    StepView? _last;

    public void Step(StepView step)
    {
        _curve.Add((step.Step, step.Loss));
        _last = step;
        if (_drawn == 0 || step.Step == step.Steps || clock.GetElapsedTime(_drawn) >= _every)
        {
            _drawn = clock.GetTimestamp();
            Draw(step);
        }
    }

    public void Note(string text)
    {
        Erase();
        output.WriteLine(text);
        if (_last is not null)
        {
            Draw(_last);
        }
    }

    void Draw(StepView s)
    {
        int filled = (int)((long)BarColumns * s.Step / s.Steps);
        StringBuilder panel = new();
        panel.Append(CultureInfo.InvariantCulture, $"\x1b[34m{new string('█', filled)}\x1b[90m{new string('░', BarColumns - filled)}\x1b[0m {s.Step}/{s.Steps}  {100.0 * s.Step / s.Steps:F0} %  {PlainTrainingView.Left(s.Remaining)} left\n");
        panel.Append(CultureInfo.InvariantCulture, $"\x1b[1mloss {s.Loss:F4}\x1b[0m   lr {s.LearningRate:0.00e+0}   norm {s.GradientNorm:F2}   \x1b[1m{s.TokensPerSecond:N0} tok/s\x1b[0m");
        if (!double.IsNaN(s.Mfu))
        {
            panel.Append(CultureInfo.InvariantCulture, $"   MFU {s.Mfu * 100:F1} %");
        }

        panel.Append('\n').Append(LossPlot.Text(new PlotCurve("loss", _curve), CurveColumns, CurveRows));
        string text = panel.ToString();
        Erase();
        output.Write(text);
        output.Flush();
        _lines = text.Count(c => c == '\n');
    }

    void Erase()
    {
        if (_lines > 0)
        {
            output.Write(string.Create(CultureInfo.InvariantCulture, $"\x1b[{_lines}A\x1b[0J"));
            _lines = 0;
        }
    }

    public void Dispose() => output.Flush();
}
