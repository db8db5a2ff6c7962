// What the HTTP server may see and ask of a run; every member may be called from any thread.
using System.Text.Json.Nodes;

namespace OrionNative.Engine.Dashboard;

interface IRunControl
{
    /// <summary>The run as it stands, one JSON object; a new string when something changed.</summary>
    string Status { get; }

    /// <summary>Events after a number, oldest first, as JSON objects.</summary>
    (long Id, string Line)[] EventsAfter(long id, int limit);

    /// <summary>Lines of metrics.jsonl after a step, thinned out to at most so many.</summary>
    JsonArray Metrics(int afterStep, int pointsMax);

    /// <summary>Asks a peer, named by the beginning of its id, to leave. Returns (true, what will happen) or (false, why not).</summary>
    (bool Done, string Text) Drain(string peer);

    /// <summary>Asks the run to end after the step under way, with a checkpoint. Returns what will happen.</summary>
    string Stop(string reason);
}
