// The loss curve as text for a terminal and as an SVG file. Both draw the same points: the mean of each bucket of steps,
// so a long run stays readable, and markers where something happened.
using System.Globalization;
using System.Text;

namespace OrionNative.Engine.Dashboard;

/// <summary>A step worth marking: a peer lost, an evaluation.</summary>
sealed record PlotMark(int Step, string Label);

/// <summary>A named curve of (step, loss).</summary>
sealed record PlotCurve(string Name, IReadOnlyList<(int Step, double Loss)> Points);

static class LossPlot
{
    /// <summary>The curve in Braille dots (2 x 4 a character), with axes.</summary>
    public static string Text(PlotCurve curve, int columns = 64, int rows = 12)
    {
        if (curve.Points.Count == 0)
        {
            return "";
        }

        (double low, double high) = Range([curve]);
        int last = curve.Points[^1].Step, first = curve.Points[0].Step;
        byte[,] dots = new byte[rows, columns];
        foreach ((int step, double loss) in Bucketed(curve.Points, columns * 2))
        {
            int x = (int)((double)(step - first) / Math.Max(1, last - first) * ((columns * 2) - 1));
            int y = (int)Math.Round((high - loss) / (high - low) * ((rows * 4) - 1));
            dots[y / 4, x / 2] |= DotBit(x % 2, y % 4);
        }

        StringBuilder text = new();
        for (int row = 0; row < rows; row++)
        {
            string label = row == 0 ? Number(high) : row == rows - 1 ? Number(low) : "";
            text.Append(label.PadLeft(7)).Append(row is 0 || row == rows - 1 ? " ┤" : " │");
            for (int column = 0; column < columns; column++)
            {
                text.Append(dots[row, column] == 0 ? ' ' : (char)(0x2800 + dots[row, column]));
            }

            text.Append('\n');
        }

        string end = last.ToString(CultureInfo.InvariantCulture);
        text.Append(' ', 7).Append(" └").Append('─', columns).Append('\n');
        text.Append(' ', 9).Append(first).Append(end.PadLeft(Math.Max(1, columns - first.ToString(CultureInfo.InvariantCulture).Length))).Append(" steps\n");
        return text.ToString();
    }

    /// <summary>A stand-alone SVG of one or more curves.</summary>
    public static string Svg(string title, IReadOnlyList<PlotCurve> curves, IReadOnlyList<PlotMark> marks)
    {
        const int width = 860, height = 420, left = 64, right = 24, top = 48, bottom = 48;
        string[] colours = ["#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706"];
        (double low, double high) = Range(curves);
        int first = curves.Min(curve => curve.Points.Count > 0 ? curve.Points[0].Step : int.MaxValue);
        int last = curves.Max(curve => curve.Points.Count > 0 ? curve.Points[^1].Step : 0);
        double X(double step) => left + ((step - first) / Math.Max(1, last - first) * (width - left - right));
        double Y(double loss) => top + ((high - loss) / (high - low) * (height - top - bottom));

        StringBuilder svg = new();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n");
        svg.Append(CultureInfo.InvariantCulture, $"<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n<text x=\"{left}\" y=\"28\" font-size=\"16\">{Escape(title)}</text>\n");
        foreach (double tick in Ticks(low, high))
        {
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{left}\" x2=\"{width - right}\" y1=\"{Y(tick):F1}\" y2=\"{Y(tick):F1}\" stroke=\"#e5e7eb\"/><text x=\"{left - 8}\" y=\"{Y(tick) + 4:F1}\" text-anchor=\"end\" fill=\"#4b5563\">{Number(tick)}</text>\n");
        }

        foreach (double tick in Ticks(first, last))
        {
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{X(tick):F1}\" y=\"{height - bottom + 18}\" text-anchor=\"middle\" fill=\"#4b5563\">{tick:0}</text>\n");
        }

        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{(left + width - right) / 2}\" y=\"{height - 10}\" text-anchor=\"middle\" fill=\"#4b5563\">step</text>\n<text x=\"16\" y=\"{height / 2}\" text-anchor=\"middle\" fill=\"#4b5563\" transform=\"rotate(-90 16 {height / 2})\">loss, nats per token</text>\n");
        foreach (PlotMark mark in marks)
        {
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{X(mark.Step):F1}\" x2=\"{X(mark.Step):F1}\" y1=\"{top}\" y2=\"{height - bottom}\" stroke=\"#9ca3af\" stroke-dasharray=\"4 3\"/><text x=\"{X(mark.Step) + 4:F1}\" y=\"{top + 12}\" fill=\"#6b7280\">{Escape(mark.Label)}</text>\n");
        }

        for (int i = 0; i < curves.Count; i++)
        {
            string colour = colours[i % colours.Length];
            string points = string.Join(' ', Bucketed(curves[i].Points, 600).Select(point => string.Create(CultureInfo.InvariantCulture, $"{X(point.Step):F1},{Y(point.Loss):F1}")));
            svg.Append(CultureInfo.InvariantCulture, $"<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{points}\"/>\n<text x=\"{width - right - 150}\" y=\"{top + 4 + (16 * i)}\" fill=\"{colour}\">{Escape(curves[i].Name)}</text>\n");
        }

        return svg.Append("</svg>\n").ToString();
    }

    static IEnumerable<(int Step, double Loss)> Bucketed(IReadOnlyList<(int Step, double Loss)> points, int buckets)
    {
        int size = Math.Max(1, (points.Count + buckets - 1) / buckets);
        for (int start = 0; start < points.Count; start += size)
        {
            int count = Math.Min(size, points.Count - start);
            double sum = 0;
            for (int i = 0; i < count; i++)
            {
                sum += points[start + i].Loss;
            }

            yield return (points[start + (count / 2)].Step, sum / count);
        }
    }

    static (double Low, double High) Range(IReadOnlyList<PlotCurve> curves)
    {
        double low = double.MaxValue, high = double.MinValue;
        foreach ((_, double loss) in curves.SelectMany(curve => Bucketed(curve.Points, 128)))
        {
            low = Math.Min(low, loss);
            high = Math.Max(high, loss);
        }

        return high > low ? (low, high) : (low - 0.5, low + 0.5);
    }

    /// <summary>About five round numbers in the range.</summary>
    static IEnumerable<double> Ticks(double low, double high)
    {
        double raw = (high - low) / 5;
        double magnitude = Math.Pow(10, Math.Floor(Math.Log10(Math.Max(raw, 1e-9))));
        double step = magnitude * (raw / magnitude < 1.5 ? 1 : raw / magnitude < 3.5 ? 2 : raw / magnitude < 7.5 ? 5 : 10);
        for (double tick = Math.Ceiling(low / step) * step; tick <= high; tick += step)
        {
            yield return tick;
        }
    }

    static byte DotBit(int x, int y) => (byte)(y == 3 ? 0x40 << x : 1 << (y + (3 * x)));

    static string Number(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);

    static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal);
}
