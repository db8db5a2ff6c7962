// The pipeline as a table for a terminal: who holds which stage, what waits there, what crossed each boundary.
using System.Globalization;
using Spectre.Console;

namespace OrionNative.Engine.Dashboard;

/// <summary>A peer as shown.</summary>
/// <param name="Name">Short.</param>
/// <param name="State">"up", "joining", "draining" or "gone".</param>
/// <param name="Queued">Microbatches that wait for its compute.</param>
/// <param name="InFlight">Accepted and unfinished ones.</param>
/// <param name="Busy">Compute over wall time, 0 to 1.</param>
sealed record PeerView(string Name, string State, int Queued, int InFlight, double Busy);

/// <summary>A stage as shown, with what its holders sent over the boundaries, bytes at the socket.</summary>
sealed record StageView(string Blocks, IReadOnlyList<PeerView> Peers, long ForwardBytes, long BackwardBytes, double LostShare);

/// <summary>The pipeline at a moment; Hold is what the run waits for, or empty.</summary>
sealed record PipelineView(IReadOnlyList<StageView> Stages, string Hold);

static class PipelinePanel
{
    // what a row takes: all but the peers, and each peer
    const int RowColumns = 60;
    const int PeerColumns = 23;

    // narrower than this there is no room for what crossed the boundaries
    const int TrafficColumns = 80;

    /// <summary>The table; the replicas of a stage stand one below the other where side by side they would not fit.</summary>
    public static string Text(PipelineView view, int columns)
    {
        bool isWide = RowColumns + (PeerColumns * view.Stages.Select(stage => stage.Peers.Count).DefaultIfEmpty(0).Max()) <= columns;
        bool hasTraffic = columns >= TrafficColumns;
        Table table = new Table().Border(TableBorder.Rounded).BorderColor(Color.Grey);
        foreach (string column in (string[])["stage", "holds", isWide ? "peers (waiting/in flight, busy)" : "peers (load, busy)", .. hasTraffic ? (string[])["codes [blue]→[/]", "gradients [blue]←[/]", "lost"] : []])
        {
            table.AddColumn(new TableColumn(column).NoWrap());
        }

        for (int stage = 0; stage < view.Stages.Count; stage++)
        {
            StageView s = view.Stages[stage];
            string[] row =
            [
                stage.ToString(CultureInfo.InvariantCulture), s.Blocks, s.Peers.Count == 0 ? "[red]nobody[/]" : string.Join(isWide ? "   " : "\n", s.Peers.Select(Peer)),
                stage + 1 < view.Stages.Count ? Megabytes(s.ForwardBytes) : "", stage > 0 ? Megabytes(s.BackwardBytes) : "",
                string.Create(CultureInfo.InvariantCulture, $"{100 * s.LostShare:F1} %"),
            ];
            table.AddRow(row[..table.Columns.Count]);
        }

        using StringWriter text = new(CultureInfo.InvariantCulture);
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.Yes, ColorSystem = TerminalTrainingView.HasColours ? ColorSystemSupport.Standard : ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(text) });
        console.Profile.Width = columns;
        console.Write(table);
        if (view.Hold.Length > 0)
        {
            console.MarkupLine($"[yellow]HOLD: {Markup.Escape(view.Hold)}[/]");
        }

        return text.ToString();
    }

    static string Peer(PeerView peer)
    {
        string colour = peer.State switch { "up" => "green", "gone" => "red", _ => "yellow" };
        string load = peer.State == "up" ? string.Create(CultureInfo.InvariantCulture, $"{peer.Queued}/{peer.InFlight} {100 * peer.Busy,3:F0} %") : peer.State;
        return $"[{colour}]●[/] {Markup.Escape(peer.Name)} {load}";
    }

    static string Megabytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F2} MB");
}
