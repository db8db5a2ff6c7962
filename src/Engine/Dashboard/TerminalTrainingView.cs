// The live panel: a bar, the figures of the last step, the pipeline where there is one, and the loss so far as a small curve,
// redrawn in place at most ten times a second; with a pipeline also while no step ends. Notes scroll above it. At the end the
// panel goes: what stays is for the caller to print.
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace OrionNative.Engine.Dashboard;

sealed partial class TerminalTrainingView : ITrainingView
{
    const int BarColumns = 40;
    const int CurveColumns = 60;
    const int BarWords = 34;     // what stands beside the bar
    const int CurveWords = 20;   // and beside the curve
    const int CurveRows = 6;
    static readonly TimeSpan _every = TimeSpan.FromMilliseconds(100);
    static readonly TimeSpan _refreshEvery = TimeSpan.FromMilliseconds(300);

    /// <summary>False where the environment asks for no colours (no-color.org).</summary>
    public static bool HasColours { get; } = string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));

    readonly TextWriter _output;
    readonly TimeProvider _clock;
    readonly Func<PipelineView>? _pipeline;
    readonly Func<(int Columns, int Rows)> _size;
    readonly ITimer? _timer;
    readonly Lock _gate = new();
    readonly List<(int Step, double Loss)> _curve = [];
    long _drawn;
    int _lines;
    StepView? _last;
    bool _isOver;

    public TerminalTrainingView(TextWriter output, TimeProvider clock, Func<PipelineView>? pipeline = null, Func<(int Columns, int Rows)>? size = null)
    {
        (_output, _clock, _pipeline, _size) = (output, clock, pipeline, size ?? Size);
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
        (int columns, int rows) = _size();
        StringBuilder panel = new();
        if (_last is { } s)
        {
            int bar = Math.Clamp(columns - BarWords, 1, BarColumns), filled = (int)((long)bar * s.Step / s.Steps);
            panel.Append(CultureInfo.InvariantCulture, $"{In("34", new string('█', filled))}{In("90", new string('░', bar - filled))} {s.Step}/{s.Steps}  {100.0 * s.Step / s.Steps:F0} %  {PlainTrainingView.Left(s.Remaining)} left\n");
            string mfu = double.IsNaN(s.Mfu) ? "" : string.Create(CultureInfo.InvariantCulture, $"MFU {s.Mfu * 100:F1} %");
            panel.Append(InLines(columns, $"loss {s.Loss:F4}", $"lr {s.LearningRate:0.00e+0}", $"norm {s.GradientNorm:F2}", $"{s.TokensPerSecond:N0} tok/s", $"{mfu}"));
        }

        // what does not fit the terminal could not be erased
        int room = rows - 1 - Lines(panel.ToString(), columns);
        foreach (string part in (string[])[_pipeline is null ? "" : PipelinePanel.Text(_pipeline(), columns), LossPlot.Text(new PlotCurve("loss", _curve), Math.Clamp(columns - CurveWords, 1, CurveColumns), CurveRows)])
        {
            int lines = Lines(part, columns);
            if (lines <= room)
            {
                panel.Append(part);
                room -= lines;
            }
        }

        string text = panel.ToString();
        Erase();
        _output.Write(text);
        _output.Flush();
        _lines = Lines(text, columns);
    }

    // figures side by side, the rest on the next line
    static string InLines(int columns, params FormattableString[] figures)
    {
        StringBuilder text = new();
        int used = 0;
        foreach (string figure in figures.Select(FormattableString.Invariant).Where(figure => figure.Length > 0))
        {
            bool fits = used > 0 && used + 3 + figure.Length <= columns;
            text.Append(fits ? "   " : used > 0 ? "\n" : "").Append(figure);
            used = (fits ? used + 3 : 0) + figure.Length;
        }

        return text.Append('\n').ToString();
    }

    // a line longer than the terminal takes several of its rows: what is counted too short could not be erased
    static int Lines(string text, int columns) =>
        text.Split('\n').SkipLast(1).Sum(line => Math.Max(1, (Escapes().Replace(line, "").Length + columns - 1) / columns));

    [GeneratedRegex("\x1b\\[[0-9;]*m")]
    private static partial Regex Escapes();

    static string In(string colour, string text) => HasColours ? $"\x1b[{colour}m{text}\x1b[0m" : text;

    static (int Columns, int Rows) Size() => Console.IsOutputRedirected ? (120, 50) : (Math.Max(20, Console.WindowWidth), Console.WindowHeight);

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
