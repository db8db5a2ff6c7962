// The live panel: a bar, the figures of the last step, the pipeline where there is one, and the loss so far as a small curve,
// redrawn in place at most ten times a second; with a pipeline also while no step ends. Notes scroll above it. At the end the
// panel goes: what stays is for the caller to print.
using System.Globalization;
using System.Text;

namespace OrionNative.Engine.Dashboard;

sealed class TerminalTrainingView : ITrainingView
{
    const int BarColumns = 40;
    const int CurveColumns = 60;
    const int CurveRows = 6;
    static readonly TimeSpan _every = TimeSpan.FromMilliseconds(100);
    static readonly TimeSpan _refreshEvery = TimeSpan.FromMilliseconds(300);

    readonly TextWriter _output;
    readonly TimeProvider _clock;
    readonly Func<PipelineView>? _pipeline;
    readonly ITimer? _timer;
    readonly Lock _gate = new();
    readonly List<(int Step, double Loss)> _curve = [];
    long _drawn;
    int _lines;
    StepView? _last;
    bool _isOver;

    public TerminalTrainingView(TextWriter output, TimeProvider clock, Func<PipelineView>? pipeline = null)
    {
        (_output, _clock, _pipeline) = (output, clock, pipeline);
        _timer = pipeline is null ? null : clock.CreateTimer(_ => Redraw(), null, _refreshEvery, _refreshEvery);
    }

    public void Step(StepView step)
    {
        lock (_gate)
        {
            _curve.Add((step.Step, step.Loss));
            _last = step;
            if (_drawn == 0 || step.Step == step.Steps || _clock.GetElapsedTime(_drawn) >= _every)
            {
                Draw();
            }
        }
    }

    public void Note(string text)
    {
        lock (_gate)
        {
            Erase();
            _output.WriteLine(text);
            Draw();
        }
    }

    void Redraw()
    {
        lock (_gate)
        {
            if (!_isOver)
            {
                Draw();
            }
        }
    }

    void Draw()
    {
        if (_last is null && _pipeline is null)
        {
            return;
        }

        _drawn = _clock.GetTimestamp();
        StringBuilder panel = new();
        if (_last is { } s)
        {
            int filled = (int)((long)BarColumns * s.Step / s.Steps);
            panel.Append(CultureInfo.InvariantCulture, $"\x1b[34m{new string('█', filled)}\x1b[90m{new string('░', BarColumns - filled)}\x1b[0m {s.Step}/{s.Steps}  {100.0 * s.Step / s.Steps:F0} %  {PlainTrainingView.Left(s.Remaining)} left\n");
            panel.Append(CultureInfo.InvariantCulture, $"\x1b[1mloss {s.Loss:F4}\x1b[0m   lr {s.LearningRate:0.00e+0}   norm {s.GradientNorm:F2}   \x1b[1m{s.TokensPerSecond:N0} tok/s\x1b[0m");
            panel.Append(double.IsNaN(s.Mfu) ? "" : string.Create(CultureInfo.InvariantCulture, $"   MFU {s.Mfu * 100:F1} %")).Append('\n');
        }

        if (_pipeline is not null)
        {
            panel.Append(PipelinePanel.Text(_pipeline(), Columns()));
        }

        panel.Append(LossPlot.Text(new PlotCurve("loss", _curve), CurveColumns, CurveRows));
        string text = panel.ToString();
        Erase();
        _output.Write(text);
        _output.Flush();
        _lines = text.Count(c => c == '\n');
    }

    static int Columns() => Console.IsOutputRedirected ? 120 : Math.Max(60, Console.WindowWidth);

    void Erase()
    {
        if (_lines > 0)
        {
            _output.Write(string.Create(CultureInfo.InvariantCulture, $"\x1b[{_lines}A\x1b[0J"));
            _lines = 0;
        }
    }

    public void Dispose()
    {
        _timer?.Dispose();
        lock (_gate)
        {
            _isOver = true;
            Erase();
            if (_last is not null)
            {
                _output.WriteLine(PlainTrainingView.Line(_last));
            }

            _output.Flush();
        }
    }
}
