// What the live panel draws must fit the terminal: a line that wraps is erased by half, and the rest scrolls by without end.
using System.Text.RegularExpressions;
using OrionNative.Engine.Dashboard;

namespace OrionNative.Engine.Tests.Dashboard;

public class TerminalTrainingViewTests
{
    [Theory]
    [InlineData(60, 40)]
    [InlineData(80, 24)]
    [InlineData(100, 50)]
    public void Panel_OnANarrowTerminal_HasNoLineThatWraps(int columns, int rows)
    {
        using StringWriter output = new();
        PipelineView pipeline = new([.. Enumerable.Range(0, 4).Select(_ => new StageView("blocks 10-12", [new PeerView("lktuh46t", "up", 4, 4, 0.41), new PeerView("rd2mbj45", "draining", 0, 0, 0)], 123_456_789, 987_654_321, 0.25))], "");
        using (TerminalTrainingView view = new(output, TimeProvider.System, () => pipeline, () => (columns, rows)))
        {
            for (int step = 1; step <= 3; step++)
            {
                view.Step(new StepView(step, 100_000, 5.5 / step, 3e-4, 12.34, 1_234_567, 0.123, TimeSpan.FromHours(99)));
                view.Note("somebody joined");
            }
        }

        string[] lines = Regex.Replace(output.ToString(), "\x1b\\[[0-9;]*[A-Za-z]|\r", "").Split('\n');
        string[] panel = [.. lines.Where(line => !line.StartsWith("step ", StringComparison.Ordinal))];
        Assert.True(panel.Length > 6);
        Assert.All(panel, line => Assert.InRange(line.Length, 0, columns));
        Assert.All((string[])["tok/s", "MFU 12.3 %", "left"], word => Assert.Contains(panel, line => line.Contains(word, StringComparison.Ordinal)));
        Assert.DoesNotContain(panel, line => line.Contains('…'));
    }
}
