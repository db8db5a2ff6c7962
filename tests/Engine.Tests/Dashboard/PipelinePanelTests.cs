using OrionNative.Engine.Dashboard;

namespace OrionNative.Engine.Tests.Dashboard;

public class PipelinePanelTests
{
    static PipelineView View(int stages, int replicas) => new(
        [.. Enumerable.Range(0, stages).Select(stage => new StageView(
            $"blocks {10 * stage}-{(10 * stage) + 9}", [.. Enumerable.Range(0, replicas).Select(_ => new PeerView("yd5f6x4x", "up", 12, 14, 1))], 99_990_000, 99_990_000, 0.5))], "");

    // neither a row that the terminal would break, nor a word cut into two
    [Theory]
    [InlineData(4, 2, 80)]
    [InlineData(4, 2, 110)]
    [InlineData(4, 3, 130)]
    [InlineData(4, 5, 80)]
    [InlineData(0, 0, 80)]
    public void Text_AtAnyUsualWidth_FitsAndKeepsEveryPeerWhole(int stages, int replicas, int columns)
    {
        string[] lines = Plain(PipelinePanel.Text(View(stages, replicas), columns)).Split('\n');
        Assert.All(lines, line => Assert.InRange(line.Length, 0, columns));
        Assert.Equal(stages * replicas, string.Join('\n', lines).Split("● yd5f6x4x 12/14 100 %").Length - 1);
    }

    static string Plain(string text) => System.Text.RegularExpressions.Regex.Replace(text, "\x1b\\[[0-9;]*m", "");
}
