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

    /// <summary>False where the environment asks for no colours (no-color.org).</summary>
    public static bool HasColours { get; } = string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

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
            panel.Append(CultureInfo.InvariantCulture, $"{In("34", new string('█', filled))}{In("90", new string('░', BarColumns - filled))} {s.Step}/{s.Steps}  {100.0 * s.Step / s.Steps:F0} %  {PlainTrainingView.Left(s.Remaining)} left\n");
            panel.Append(CultureInfo.InvariantCulture, $"{In("1", $"loss {s.Loss:F4}")}   lr {s.LearningRate:0.00e+0}   norm {s.GradientNorm:F2}   {In("1", $"{s.TokensPerSecond:N0} tok/s")}");
            panel.Append(double.IsNaN(s.Mfu) ? "" : string.Create(CultureInfo.InvariantCulture, $"   MFU {s.Mfu * 100:F1} %")).Append('\n');
        }

        // what does not fit the terminal could not be erased
        int room = Rows() - 1 - Lines(panel.ToString());
        foreach (string part in (string[])[_pipeline is null ? "" : PipelinePanel.Text(_pipeline(), Columns()), LossPlot.Text(new PlotCurve("loss", _curve), CurveColumns, CurveRows)])
        {
            if (Lines(part) <= room)
            {
                panel.Append(part);
                room -= Lines(part);
            }
        }

        string text = panel.ToString();
        Erase();
        _output.Write(text);
        _output.Flush();
        _lines = Lines(text);
    }

    static int Lines(string text) => text.Count(c => c == '\n');

    static string In(string colour, string text) => HasColours ? $"\x1b[{colour}m{text}\x1b[0m" : text;

    static int Columns() => Console.IsOutputRedirected ? 120 : Math.Max(60, Console.WindowWidth);

    static int Rows() => Console.IsOutputRedirected ? 50 : Console.WindowHeight;

    void Erase()
    {
        if (_lines > 0)
        {
            _output.Write(string.Create(CultureInfo.InvariantCulture, $"\r\x1b[{_lines}A\x1b[0J"));
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
