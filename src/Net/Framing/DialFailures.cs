// Dials that lead nowhere, told in few lines: the first failure and each new reason at once, then, while it goes on, after 10 s,
// 20 s, 40 s ... at most ten minutes, with the count. A redialler tries several times a second for as long as a peer is away.
using OrionNative.Net.Identity;

namespace OrionNative.Net.Framing;

/// <summary>What to say of failed dials, by the node that was dialled. One thread uses it; times in nanoseconds.</summary>
sealed class DialFailures
{
    /// <summary>Reasons that have a line of their own; one with a number in it has as many as there are numbers.</summary>
    const int ReasonsMax = 8;

    const ulong Second = 1_000_000_000;
    const ulong FirstPause = 10 * Second, LongestPause = 600 * Second;

    sealed class Failing(ulong since)
    {
        public readonly ulong Since = since;
        public readonly HashSet<string> Reasons = [];
        public long Count;
        public ulong Pause = FirstPause, TellAt;
    }

    readonly Dictionary<NodeId, Failing> _failing = [];

    /// <summary>A dial failed; what to add to its line, or null: no line.</summary>
    public string? Failed(NodeId node, string reason, ulong now)
    {
        if (!_failing.TryGetValue(node, out Failing? failing)) _failing[node] = failing = new Failing(now);
        failing.Count++;
        bool isNew = failing.Reasons.Count < ReasonsMax && failing.Reasons.Add(reason);
        if (!isNew && now < failing.TellAt) return null;
        failing.TellAt = now + failing.Pause;
        if (!isNew) failing.Pause = Math.Min(2 * failing.Pause, LongestPause);
        return failing.Count == 1 ? "" : Counted(failing, now);
    }

    /// <summary>A dial succeeded; what to add to its line.</summary>
    public string Opened(NodeId node, ulong now) => _failing.Remove(node, out Failing? failing) ? Counted(failing, now) : "";

    static string Counted(Failing failing, ulong now) => $"; {failing.Count} dials failed in {(now - failing.Since) / Second} s";
}
